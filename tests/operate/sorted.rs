//! `df --sort`: the order of layouts and images.

use crate::support::{Cmd, ImageBuilder, TestDir, TestLayout};

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

/// By default the image that frees most comes first.
#[test]
fn images_are_sorted_as_well() {
    let mut shelf = TestLayout::new();
    let base = vec![7; 9000];
    for (name, own) in [("b:1", 3000), ("a:1", 2000)] {
        let image = ImageBuilder::new(name).layer(&base).weighs(own);
        shelf.named(name, 10, &image);
    }
    shelf.named("c:1", 10, &ImageBuilder::new("c").weighs(5000));
    shelf.untagged(20, &ImageBuilder::new("none").weighs(100));
    shelf.write();
    for (args, order) in [
        (&[][..], ["c:1", "b:1", "a:1", "<none>"]),
        (&["--sort", "size"], ["b:1", "a:1", "c:1", "<none>"]),
        (&["--sort", "name"], ["a:1", "b:1", "c:1", "<none>"]),
    ] {
        let call = Cmd::new(["df", "-v"]).arg(shelf.path()).args(args);
        let run = call.clone().run();
        let lines = run.ok().stdout.lines();
        let lines = lines.skip_while(|line| !line.starts_with("IMAGE ")).skip(1);
        let names: Vec<&str> = lines.filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, order, "{}", run.all());
        let template = call.clone().args(["--format", "table {{.Repository}}"]);
        let run = template.run();
        let first = run.ok().stdout.lines().nth(1);
        assert_eq!(first, Some(&order[0][..1]), "{}", run.all());
        if !args.is_empty() {
            let json = call.args(["--format", "json"]).run().json();
            let first = &json["layouts"][0]["items"][0]["names"][0];
            assert_eq!(first, order[0]);
        }
    }
}
