//! The tree of images, as `docker image ls --tree` shows it.
//!
//! An image is a block: its names, one below the other, with the details beside the last one; its children; a blank
//! line when it has children. docker's look with three differences: the first column is as wide as a terminal shows it
//! (docker counts bytes, and so leaves four spaces too many below a branch), no line ends in spaces, and children may
//! have children.

use std::mem;
use std::slice;

use unicode_width::UnicodeWidthStr;

use super::table::{cut_middle, pad};
use crate::cli::term::{Colors, Style, one_line};

/// Levels below the image that are shown. Nested indexes come from strangers.
const MAX_DEPTH: usize = 64;
/// Columns between two cells, and also those of one level of indentation.
const GAP: usize = 3;
/// The names get at least this; before they get less, a column goes.
const MIN_NAME: usize = 12;

/// A line of the tree and what hangs below it.
///
/// Foreign text in it must have gone through [`Term::foreign`](crate::cli::term::Term::foreign).
#[derive(Debug, Default)]
pub struct TreeNode {
    /// Names, one below the other.
    pub label: Vec<String>,
    /// Short digest.
    pub id: String,
    /// Size of what is here.
    pub disk: String,
    /// Size of what the descriptors declare.
    pub content: String,
    /// Marks such as `H` and `missing`.
    pub extra: String,
    /// What the image contains, in its order.
    pub children: Vec<Self>,
    /// The line is about something that is not here. `extra` says so as well.
    pub dim: bool,
}

impl TreeNode {
    /// Returns a node with names and nothing else; a type with a `Drop` has no struct update.
    pub fn new(label: Vec<String>) -> Self {
        let mut node = Self::default();
        node.label = label;
        node
    }
}

impl Drop for TreeNode {
    fn drop(&mut self) {
        // The drop that the compiler writes takes stack for each level of nesting.
        let mut pending = mem::take(&mut self.children);
        while let Some(mut node) = pending.pop() {
            pending.append(&mut node.children);
        }
    }
}

/// Returns the headers and the blocks, each line with its line end.
///
/// With a `width`, names and deep indentation are cut in the middle; when too little is left for names, CONTENT SIZE
/// goes, then DISK USAGE. EXTRA stays, because nothing else tells what is missing.
pub fn render(nodes: &[TreeNode], width: Option<usize>, colors: Colors) -> String {
    let lines = flatten(nodes);
    let layout = Layout::new(&lines, width);
    let mut text = layout.header();
    for line in &lines {
        match line {
            Line::Blank => text.push('\n'),
            Line::Name { prefix, label } => {
                let shown = name_within(prefix, label, width.unwrap_or(usize::MAX));
                text.push_str(shown.trim_end_matches(' '));
                text.push('\n');
            }
            Line::Details {
                prefix,
                label,
                cells,
                dim,
            } => {
                let name = name_within(prefix, label, layout.name_width);
                let row = layout.row(&name, cells);
                text.push_str(&if *dim {
                    colors.paint(Style::Dim, &row)
                } else {
                    row
                });
                text.push('\n');
            }
        }
    }
    text
}

/// A line before its columns have widths.
enum Line {
    /// The end of a block.
    Blank,
    /// A name with nothing beside it: it may be as wide as the terminal.
    Name { prefix: String, label: String },
    /// The last name of a node.
    Details {
        prefix: String,
        label: String,
        cells: [String; 4],
        dim: bool,
    },
}

/// Siblings that are being written, and what stands before each of them.
struct Level<'a> {
    siblings: slice::Iter<'a, TreeNode>,
    guides: String,
}

/// Returns the lines of all blocks. The open levels are kept in a list, not on the stack.
fn flatten(nodes: &[TreeNode]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut open = vec![Level {
        siblings: nodes.iter(),
        guides: String::new(),
    }];
    while let Some(level) = open.last_mut() {
        let guides = level.guides.clone();
        let next = level.siblings.next();
        let is_last = level.siblings.len() == 0;
        let depth = open.len().saturating_sub(1);
        let Some(node) = next else {
            open.pop();
            if open.len() == 1 {
                lines.push(Line::Blank);
            }
            continue;
        };
        let (branch, below) = match (depth, is_last) {
            (0, _) => (String::new(), String::new()),
            (_, false) => (format!("{guides}├─ "), format!("{guides}│  ")),
            (_, true) => (format!("{guides}└─ "), format!("{guides}   ")),
        };
        push_node(&mut lines, node, branch, &below);
        if node.children.is_empty() {
            continue;
        }
        if depth < MAX_DEPTH {
            open.push(Level {
                siblings: node.children.iter(),
                guides: below,
            });
        } else {
            let label = "deeper levels are not shown".to_owned();
            lines.push(Line::Name {
                prefix: format!("{below}└─ "),
                label,
            });
        }
    }
    lines
}

fn push_node(lines: &mut Vec<Line>, node: &TreeNode, branch: String, below: &str) {
    let (last, stacked) = match node.label.split_last() {
        Some((last, stacked)) => (last.as_str(), stacked),
        None => ("", [].as_slice()),
    };
    let mut prefix = branch;
    for name in stacked {
        let label = one_line(name).into_owned();
        lines.push(Line::Name {
            prefix: mem::replace(&mut prefix, below.to_owned()),
            label,
        });
    }
    let cells =
        [&node.id, &node.disk, &node.content, &node.extra].map(|cell| one_line(cell).into_owned());
    let label = one_line(last).into_owned();
    lines.push(Line::Details {
        prefix,
        label,
        cells,
        dim: node.dim,
    });
}

/// A column beside the names.
struct Column {
    title: &'static str,
    width: usize,
    is_right: bool,
    is_shown: bool,
}

struct Layout {
    name_width: usize,
    columns: [Column; 4],
}

impl Layout {
    fn new(lines: &[Line], width: Option<usize>) -> Self {
        let left = |title, width| Column {
            title,
            width,
            is_right: false,
            is_shown: true,
        };
        let right = |title, width| Column {
            title,
            width,
            is_right: true,
            is_shown: true,
        };
        let mut columns = [
            left("ID", 12),
            right("DISK USAGE", 10),
            right("CONTENT SIZE", 12),
            left("EXTRA", 5),
        ];
        let mut name_width = "IMAGE".len();
        for line in lines {
            let (prefix, label) = match line {
                Line::Blank => continue,
                Line::Name { prefix, label } => (prefix, label),
                Line::Details {
                    prefix,
                    label,
                    cells,
                    ..
                } => {
                    for (column, cell) in columns.iter_mut().zip(cells) {
                        column.width = column.width.max(cell.width());
                    }
                    (prefix, label)
                }
            };
            name_width = name_width.max(prefix.width().saturating_add(label.width()));
        }
        let mut layout = Self {
            name_width,
            columns,
        };
        if let Some(width) = width {
            layout.narrow(width);
        }
        layout
    }

    fn narrow(&mut self, width: usize) {
        for goes in ["CONTENT SIZE", "DISK USAGE"] {
            if self.room_for_names(width) >= MIN_NAME.min(self.name_width) {
                break;
            }
            for column in self
                .columns
                .iter_mut()
                .filter(|column| column.title == goes)
            {
                column.is_shown = false;
            }
        }
        self.name_width = self
            .name_width
            .min(self.room_for_names(width).max(MIN_NAME));
    }

    fn room_for_names(&self, width: usize) -> usize {
        let shown = self.columns.iter().filter(|column| column.is_shown);
        shown.fold(width, |left, column| {
            left.saturating_sub(column.width).saturating_sub(GAP)
        })
    }

    fn header(&self) -> String {
        let titles = self
            .columns
            .each_ref()
            .map(|column| column.title.to_owned());
        let mut text = self.row("IMAGE", &titles);
        text.push('\n');
        text
    }

    fn row(&self, name: &str, cells: &[String; 4]) -> String {
        let mut text = name.to_owned();
        pad(&mut text, self.name_width.saturating_sub(name.width()));
        for (column, cell) in self
            .columns
            .iter()
            .zip(cells)
            .filter(|(column, _)| column.is_shown)
        {
            let blanks = column.width.saturating_sub(cell.width());
            pad(&mut text, GAP);
            if column.is_right {
                pad(&mut text, blanks);
            }
            text.push_str(cell);
            if !column.is_right {
                pad(&mut text, blanks);
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text
    }
}

/// Returns the indentation and the name, at most `room` columns wide.
fn name_within(prefix: &str, label: &str, room: usize) -> String {
    let whole = prefix.width();
    if whole.saturating_add(label.width()) <= room {
        return format!("{prefix}{label}");
    }
    // Indentation takes half of the room at most; what is left of it are the levels next to the name.
    let kept = (room / 2 / GAP).max(1).saturating_mul(GAP);
    let mut shown = if whole <= kept {
        prefix.to_owned()
    } else {
        let levels = kept.saturating_sub(GAP);
        let near = prefix.chars().skip(whole.saturating_sub(levels));
        "…  ".chars().chain(near).collect()
    };
    let left = room.saturating_sub(shown.width());
    shown.push_str(&cut_middle(label, left));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(names: &[&str], cells: [&str; 4], children: Vec<TreeNode>) -> TreeNode {
        let mut node = TreeNode::new(names.iter().map(|&name| name.to_owned()).collect());
        let [id, disk, content, extra] = cells.map(str::to_owned);
        (node.id, node.disk, node.content, node.extra) = (id, disk, content, extra);
        node.children = children;
        node
    }

    fn sample() -> Vec<TreeNode> {
        let mut missing = node(
            &["linux/riscv64"],
            ["d331578c0b1a", "0B", "0B", "missing"],
            vec![],
        );
        missing.dim = true;
        vec![
            node(
                &["multi:1", "multi:latest"],
                ["8fb78cf4b1cd", "971kB", "566kB", "H"],
                vec![
                    node(
                        &["linux/amd64"],
                        ["cfdb479d914d", "588kB", "272kB", ""],
                        vec![],
                    ),
                    node(
                        &["nested index"],
                        ["abf68d5e9a03", "71.4kB", "71.4kB", ""],
                        vec![
                            node(
                                &["linux/arm64"],
                                ["d01c407f5a61", "71.4kB", "71.4kB", ""],
                                vec![],
                            ),
                            node(
                                &["a", "b"],
                                ["8db9726086ad", "71.4kB", "71.4kB", ""],
                                vec![],
                            ),
                        ],
                    ),
                    missing,
                ],
            ),
            node(&["alpha:1"], ["01da2a5a9765", "259kB", "0B", ""], vec![]),
            node(&["bravo:1"], ["4851c1a360cc", "259kB", "0B", ""], vec![]),
        ]
    }

    #[test]
    fn shows_blocks_with_names_stacked_and_children_below() {
        let want = "\
IMAGE               ID             DISK USAGE   CONTENT SIZE   EXTRA
multi:1
multi:latest        8fb78cf4b1cd        971kB          566kB   H
├─ linux/amd64      cfdb479d914d        588kB          272kB
├─ nested index     abf68d5e9a03       71.4kB         71.4kB
│  ├─ linux/arm64   d01c407f5a61       71.4kB         71.4kB
│  └─ a
│     b             8db9726086ad       71.4kB         71.4kB
└─ linux/riscv64    d331578c0b1a           0B             0B   missing

alpha:1             01da2a5a9765        259kB             0B
bravo:1             4851c1a360cc        259kB             0B
";
        for width in [None, Some(80), Some(200)] {
            assert_eq!(render(&sample(), width, Colors::Off), want, "{width:?}");
        }
    }

    #[test]
    fn colour_adds_nothing_but_faintness() {
        let coloured = render(&sample(), None, Colors::On);
        let line = coloured
            .lines()
            .find(|line| line.contains("riscv64"))
            .expect("it is there");
        assert!(
            line.starts_with("\x1b[2m└─ ") && line.ends_with("missing\x1b[0m"),
            "{line:?}"
        );
        let plain = coloured.replace("\x1b[2m", "").replace("\x1b[0m", "");
        assert_eq!(plain, render(&sample(), None, Colors::Off));
    }

    #[test]
    fn nothing_is_the_headers() {
        let want = "IMAGE   ID             DISK USAGE   CONTENT SIZE   EXTRA\n";
        assert_eq!(render(&[], Some(80), Colors::Off), want);
    }

    #[test]
    fn cuts_names_and_then_gives_up_columns() {
        let name = "registry.example.com/platform/team/application:1.4.2";
        let image = || {
            [node(
                &[name, name],
                ["8fb78cf4b1cd", "971kB", "566kB", "H"],
                vec![],
            )]
        };
        let cases = [
            (
                80,
                "IMAGE                           ID             DISK USAGE   CONTENT SIZE   EXTRA\n\
                 registry.example.com/platform/team/application:1.4.2\n\
                 registry.examp…lication:1.4.2   8fb78cf4b1cd        971kB          566kB   H\n",
            ),
            (
                60,
                "IMAGE                      ID             DISK USAGE   EXTRA\n\
                 registry.example.com/platform/team/application:1.4.2\n\
                 registry.ex…cation:1.4.2   8fb78cf4b1cd        971kB   H\n",
            ),
            (
                40,
                "IMAGE               ID             EXTRA\n\
                 registry.example.co…am/application:1.4.2\n\
                 registry…on:1.4.2   8fb78cf4b1cd   H\n",
            ),
        ];
        for (width, want) in cases {
            let text = render(&image(), Some(width), Colors::Off);
            assert_eq!(text, want, "{width}:\n{text}");
        }
    }

    #[test]
    fn hostile_nesting_ends_and_stays_inside_the_screen() {
        let mut image = node(&["leaf"], [""; 4], vec![]);
        for level in 0..200_000 {
            image = node(
                &[&format!("level {level}")],
                ["8fb78cf4b1cd", "1B", "1B", ""],
                vec![image],
            );
        }
        let image = [image];
        for width in [None, Some(80), Some(200)] {
            let text = render(&image, width, Colors::Off);
            // Headers, the image and 64 levels, the remark, the blank.
            assert_eq!(text.lines().count(), 1 + 65 + 1 + 1);
            assert!(text.contains("deeper levels are not shown") || width.is_some());
            for line in text.lines() {
                assert!(
                    line.width() <= width.unwrap_or(usize::MAX),
                    "{width:?} {line}"
                );
            }
        }
    }

    #[test]
    fn a_name_cannot_make_up_rows() {
        let forged = [
            node(&["a\nb", ""], ["c\td", "1B", "1B", "\r"], vec![]),
            TreeNode::default(),
        ];
        let text = render(&forged, None, Colors::Off);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains(r"a\x0ab") && text.contains(r"c\x09d"));
    }
}
