//! `df --sort`: the layout that is worth the effort comes first.

use crate::support::{Cmd, TestDir};

#[test]
fn layouts_are_sorted_by_size_or_by_name() {
    let tree = TestDir::new();
    for (name, len) in [("a", 10), ("b", 30_000), ("c", 2000)] {
        let (layout, _) = tree.layout(name);
        layout.layer(&vec![7; len]);
    }
    for (args, order) in [
        (&[][..], ["b", "a", "c"]),
        (&["--sort", "size"], ["b", "c", "a"]),
        (&["--sort", "name"], ["a", "b", "c"]),
    ] {
        let call = Cmd::new(["df", "b", "a", "c"]).args(args);
        let run = call.clone().current_dir(tree.path()).run();
        let lines = run.ok().stdout.lines().skip(1).take(3);
        let names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, order, "{}", run.all());
        let json = call.args(["--format", "json"]);
        let json = json.current_dir(tree.path()).run();
        assert_eq!(json.json()["layouts"][0]["path"], order[0]);
    }
}
