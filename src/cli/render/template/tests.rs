//! Templates compared with the documentation of Go's text/template and of docker's functions.

use super::*;

static LAYER: Schema = Schema {
    row: "a layer",
    fields: &[Field::text("ID", "LAYER ID"), Field::text("Size", "SIZE")],
    raw: "",
};

static IMAGE: Schema = Schema {
    row: "an image",
    fields: &[
        Field::text("ID", "IMAGE ID"),
        Field::text("Repository", "REPOSITORY"),
        Field::text("Tag", "TAG"),
        Field::text("CreatedSince", "CREATED"),
        Field::text("Empty", "EMPTY"),
        Field::of("Bytes", "BYTES", ValueKind::Number),
        Field::of("Held", "HELD", ValueKind::Flag),
        Field::of("Names", "NAMES", ValueKind::List),
        Field::of("None", "NONE", ValueKind::List),
        Field::of("Layers", "LAYERS", ValueKind::Rows(&LAYER)),
    ],
    raw: "id: {{.ID}}\ntag: {{.Tag}}\n",
};

fn image(tag: &str) -> TemplateRow {
    let text = |text: &str| TemplateValue::Text(text.to_owned());
    let layer = |id, size| TemplateRow::new([("ID", text(id)), ("Size", text(size))]);
    let layers = vec![layer("l1", "2kB"), layer("l2", "3kB")];
    TemplateRow::new([
        ("ID", text("fd2d4af9182d")),
        ("Repository", text("team/app")),
        ("Tag", text(tag)),
        ("CreatedSince", text("2 years ago")),
        ("Empty", text("")),
        ("Bytes", TemplateValue::Number(539)),
        ("Held", TemplateValue::Flag(true)),
        (
            "Names",
            TemplateValue::List(vec!["a:1".to_owned(), "b:2".to_owned()]),
        ),
        ("None", TemplateValue::List(Vec::new())),
        ("Layers", TemplateValue::Rows(layers.into())),
    ])
}

#[track_caller]
fn printed(template: &str) -> String {
    let compiled = Template::compile(template, &IMAGE);
    let compiled = compiled.unwrap_or_else(|mistake| panic!("{template}: {}", mistake.text));
    let text = compiled.render([&image("1.4")]);
    text.unwrap_or_else(|mistake| panic!("{template}: {}", mistake.text))
}

#[test]
fn prints_what_go_prints() {
    for (template, want) in [
        ("{{.Repository}}:{{.Tag}}", "team/app:1.4"),
        ("{{ .ID }} {{.Bytes}} {{.Held}}", "fd2d4af9182d 539 true"),
        ("{{.Names}} {{.None}}", "[a:1 b:2] []"),
        ("{{$.Tag}} {{$.Names}}", "1.4 [a:1 b:2]"),
        (
            r#"{{"a\tb\"\\\x41\u00e9"}} {{`raw\n`}}"#,
            "a\tb\"\\Aé raw\\n",
        ),
        (
            "{{12}} {{-3}} {{0x1F}} {{1_000}} {{0b101}} {{017}}",
            "12 -3 31 1000 5 15",
        ),
        ("{{true}} {{false}}", "true false"),
        ("{{(.Tag)}} {{((.Tag))}}", "1.4 1.4"),
        ("{{(index .Layers 1).Size}}", "3kB"),
        (r"a\tb\nc {{.Tag}}", "a\tb\nc 1.4"),
        ("} {x} }} {{.Tag}}", "} {x} }} 1.4"),
        (r#"{{"}}"}}"#, "}}"),
        ("größe: {{.Tag}} ✓", "größe: 1.4 ✓"),
        // Trim markers and comments.
        ("a  {{- .Tag}}  b", "a1.4  b"),
        ("a  {{.Tag -}}\n  b", "a  1.4b"),
        ("a \n {{- .Tag -}} \t b", "a1.4b"),
        ("a {{- 3}}", "a3"),
        ("a {{/* a comment */}}b", "a b"),
        ("a {{- /* a\ncomment */ -}} b", "ab"),
        (r"a\n{{- .Tag}}", "a1.4"),
        // Conditions.
        ("{{if .Tag}}yes{{end}}", "yes"),
        ("{{if .Empty}}yes{{else}}no{{end}}", "no"),
        (
            "{{if .Empty}}a{{else if .None}}b{{else if .Held}}c{{else}}d{{end}}",
            "c",
        ),
        (
            "{{if 0}}a{{else if \"\"}}b{{else if false}}c{{else}}d{{end}}",
            "d",
        ),
        ("{{if and .Tag .Held | not}}a{{else}}b{{end}}", "b"),
        ("{{if (eq .Tag \"1.4\")}}a{{end}}", "a"),
        // Lists.
        ("{{range .Names}}<{{.}}>{{end}}", "<a:1><b:2>"),
        ("{{range .None}}x{{else}}{{.Tag}}{{end}}", "1.4"),
        (
            "{{range $name := .Names}}{{$name}} {{$.Tag}},{{end}}",
            "a:1 1.4,b:2 1.4,",
        ),
        (
            "{{range $i, $e := .Names}}{{$i}}={{$e}};{{end}}",
            "0=a:1;1=b:2;",
        ),
        (
            "{{range .Layers}}{{.ID}}({{.Size}}) {{end}}",
            "l1(2kB) l2(3kB) ",
        ),
        (
            "{{range split .Repository \"/\"}}{{.}}.{{end}}",
            "team.app.",
        ),
        // Variables.
        ("{{$x := .Tag}}{{$x}}{{$x = \"2\"}}{{$x}}", "1.42"),
        (
            "{{$x := 1}}{{if .Tag}}{{$x = 2}}{{$y := 3}}{{$y}}{{end}}{{$x}}",
            "32",
        ),
        ("{{$x := 1}}{{if .Tag}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        (
            "{{$x := \"\"}}{{range .Names}}{{$x = .}}{{end}}{{$x}}",
            "b:2",
        ),
        ("{{if $x := .Tag}}{{$x}}{{end}}", "1.4"),
        (
            "{{with .Tag}}<{{.}}>{{end}}{{with .Empty}}x{{else}}{{.Tag}}{{end}}",
            "<1.4>1.4",
        ),
        (
            "{{with $x := index .Layers 0}}{{$x.ID}}{{.Size}}{{end}}",
            "l12kB",
        ),
    ] {
        assert_eq!(printed(template), format!("{want}\n"), "{template}");
    }
}

/// A context of docker's, whose templates a docker CLI printed without a daemon.
static CONTEXT: Schema = Schema {
    row: "a context",
    fields: &[
        Field::text("Name", "NAME"),
        Field::text("Description", "DESCRIPTION"),
        Field::text("DockerEndpoint", "DOCKER ENDPOINT"),
        Field::text("Error", "ERROR"),
        Field::of("Current", "CURRENT", ValueKind::Flag),
    ],
    raw: "",
};

#[test]
fn prints_what_docker_prints() {
    let text = include_str!("../../../../testdata/vectors/template-docker.tsv");
    let context = TemplateRow::new([
        ("Name", TemplateValue::Text("default".to_owned())),
        (
            "Description",
            TemplateValue::Text("Current DOCKER_HOST based configuration".to_owned()),
        ),
        (
            "DockerEndpoint",
            TemplateValue::Text("unix:///var/run/docker.sock".to_owned()),
        ),
        ("Error", TemplateValue::Text(String::new())),
        ("Current", TemplateValue::Flag(true)),
    ]);
    let mut compared = 0;
    for line in text.lines() {
        let (template, want) = line.split_once('\t').expect("a row has two cells");
        let (template, want) = (unescape(template), unescape(want));
        let compiled = Template::compile(&template, &CONTEXT);
        let compiled = compiled.unwrap_or_else(|mistake| panic!("{template}: {}", mistake.text));
        let shown = compiled.render([&context]);
        let shown = shown.unwrap_or_else(|mistake| panic!("{template}: {}", mistake.text));
        // docker leaves spaces at the end of rows.
        let trimmed = |text: &str| -> Vec<String> {
            let is_table = template.starts_with("table");
            let lines = text.lines();
            lines
                .map(|line| if is_table { line.trim_end() } else { line })
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(trimmed(&shown), trimmed(&want), "{template}");
        compared += 1;
    }
    assert!(compared > 70, "only {compared}");
}

/// Decodes `\u{…}`.
fn unescape(cell: &str) -> String {
    let mut parts = cell.split("\\u{");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').expect("an escape is closed");
        let code = u32::from_str_radix(code, 16).expect("an escape is hexadecimal");
        text.push(char::from_u32(code).expect("an escape is a character"));
        text.push_str(rest);
    }
    text
}

#[test]
fn functions_do_what_docker_and_go_document() {
    for (template, want) in [
        (
            "{{upper .Repository}} {{.Repository | upper | lower}}",
            "TEAM/APP team/app",
        ),
        (
            "{{title \"hello big_world a-b ünder\"}}",
            "Hello Big_world A-B Ünder",
        ),
        (
            "{{json .Tag}} {{json .Names}} {{json .Bytes}} {{json .Held}}",
            r#""1.4" ["a:1","b:2"] 539 true"#,
        ),
        (r#"{{json "<a> & \"b\""}}"#, r#""<a> & \"b\"""#),
        ("{{join .Names \", \"}}", "a:1, b:2"),
        ("{{join (split .Repository \"/\") \"-\"}}", "team-app"),
        (
            "{{split \"abc\" \"\"}} {{split .Empty \",\" | len}}",
            "[a b c] 1",
        ),
        (
            "{{truncate .ID 6}} {{truncate .Tag 99}} {{truncate \"äöü\" 2}}",
            "fd2d4a 1.4 äö",
        ),
        ("<{{pad .Tag 2 3}}> <{{pad .Empty 2 3}}>", "<  1.4   > <>"),
        (
            "{{print .Tag .ID}} {{print 1 2}} {{print .Tag 1 2}}",
            "1.4fd2d4af9182d 1 2 1.41 2",
        ),
        ("{{println .Tag 5}}x", "1.4 5\nx"),
        (
            "{{len .Names}} {{len .Layers}} {{len .Tag}} {{len \"ä\"}}",
            "2 2 3 2",
        ),
        ("{{index .Names 1}}", "b:2"),
        (
            "{{slice .ID 0 6}} {{slice .ID 8}} {{slice .Names 1 2}} {{slice .Tag}}",
            "fd2d4a 182d [b:2] 1.4",
        ),
        (
            "{{and .Tag .Empty}}|{{and .Tag .ID}}|{{or .Empty .Tag}}|{{or .Empty \"\"}}",
            "|fd2d4af9182d|1.4|",
        ),
        ("{{not .Tag}} {{not .None}}", "false true"),
        (
            "{{eq .Tag \"1.4\"}} {{eq .Tag \"a\" \"1.4\"}} {{ne .Tag \"1.4\"}} {{.Tag | eq \"1.4\"}}",
            "true true false true",
        ),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt .Bytes 1000}} {{ge \"b\" \"a\"}}",
            "true true false true",
        ),
        ("{{if gt (len .Names) 1}}several{{end}}", "several"),
        // The first argument that decides ends it, so that what follows cannot fail.
        (
            "{{if and (gt (len .None) 0) (eq (index .None 0) \"x\")}}a{{else}}b{{end}}",
            "b",
        ),
        ("{{if or .Held (eq (index .None 0) \"x\")}}a{{end}}", "a"),
        // printf, with the output of Go's fmt.
        (
            "<{{printf \"%-8s|%6d|%06d|%.3s|%5.1s\" .Tag .Bytes -12 .ID .Tag}}>",
            "<1.4     |   539|-00012|fd2|    1>",
        ),
        (
            "{{printf \"%v %v %v %q %t %%\" .Tag .Bytes .Names .Tag .Held}}",
            "1.4 539 [a:1 b:2] \"1.4\" true %",
        ),
        (
            "{{printf \"%d\" .Tag}} {{printf \"%s\"}} {{printf \"a\" 1}} {{printf \"%\"}}",
            "%!d(string=1.4) %!s(MISSING) a%!(EXTRA int=1) %!(NOVERB)",
        ),
        ("{{.Bytes | printf \"%d bytes\"}}", "539 bytes"),
        // Variables of `with` are known to its `else`.
        ("{{with $x := \"\"}}a{{else}}[{{$x}}]{{end}}", "[]"),
    ] {
        assert_eq!(printed(template), format!("{want}\n"), "{template}");
    }
}

#[test]
fn a_row_is_dockers_object_of_strings() {
    let want = r#"{"Bytes":"539","CreatedSince":"2 years ago","Empty":"","Held":"true","ID":"fd2d4af9182d","Layers":[{"ID":"l1","Size":"2kB"},{"ID":"l2","Size":"3kB"}],"Names":"a:1,b:2","None":"","Repository":"team/app","Tag":"\u003cnone\u003e"}"#;
    for template in [
        "{{json .}}",
        "{{.}}",
        "{{json $}}",
        "{{with .}}{{json .}}{{end}}",
    ] {
        let compiled = Template::compile(template, &IMAGE).expect("it is valid");
        let text = compiled
            .render([&image("<none>")])
            .expect("it has no index");
        assert_eq!(text, format!("{want}\n"), "{template}");
        serde_json::from_str::<serde_json::Value>(&text).expect("it is JSON");
        assert!(compiled.uses("Layers"), "{template}");
    }
}

#[test]
fn a_table_has_the_headers_of_its_fields() {
    for (template, header) in [
        (r"table {{.ID}}\t{{.Tag}}", "IMAGE ID       TAG"),
        ("table {{.Repository}}:{{.Tag}}", "REPOSITORY:TAG"),
        (
            "table {{.ID}}\t{{upper .Tag}}\t{{truncate .ID 4}}",
            "IMAGE ID       TAG       IMAGE ID",
        ),
        (
            r#"table {{join .Names ","}}\t{{len .Layers}}"#,
            "NAMES     LAYERS",
        ),
        (
            r"table {{.Tag}}\t{{if .Held}}{{.CreatedSince}}{{else}}{{.ID}}{{end}}",
            "TAG       CREATED",
        ),
        (
            r"table {{range .Names}}{{.}}{{end}}\t{{with .Tag}}{{.}}{{end}}",
            "NAMES     TAG",
        ),
        (
            r#"table {{printf "%-10s %d" .Tag .Bytes}}\t{{print .Tag "-" .ID}}"#,
            "TAG        BYTES   TAG-IMAGE ID",
        ),
        (
            r"table {{$x := .Tag}}{{$x}}\t{{(index .Layers 0).Size}}",
            "TAG       ",
        ),
        (
            r"table {{.ID | lower | json}}\t{{or .Empty .Tag}}",
            "IMAGE ID         EMPTY",
        ),
        (r"table{{.Tag}}\tsaid: {{.ID}}", "TAG       said: IMAGE ID"),
    ] {
        let text = printed(template);
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, header.trim_end(), "{template}\n{text}");
        assert_eq!(text.lines().count(), 2, "{template}\n{text}");
    }
}

#[test]
fn a_table_is_aligned_as_in_docker() {
    let template = Template::compile(r"table {{.Tag}}\t{{.ID}}", &IMAGE).expect("it is valid");
    let rows = [image("a-tag-that-is-long"), image("2")];
    assert_eq!(
        template.render(&rows).expect("it has no index"),
        "TAG                  IMAGE ID\n\
         a-tag-that-is-long   fd2d4af9182d\n\
         2                    fd2d4af9182d\n"
    );
    assert_eq!(
        template.render([]).expect("it has no index"),
        "TAG       IMAGE ID\n"
    );
}

#[test]
fn raw_is_that_of_the_schema() {
    assert_eq!(printed("raw"), "id: fd2d4af9182d\ntag: 1.4\n\n");
}

#[test]
fn only_fields_that_are_used_are_needed() {
    let template = "{{if .Tag}}{{range .Names}}{{$.ID}}{{end}}{{end}}{{$x := .Bytes}}";
    let template = Template::compile(template, &IMAGE).expect("it is valid");
    for (field, is_used) in [
        ("Tag", true),
        ("Names", true),
        ("ID", true),
        ("Bytes", true),
        ("Held", false),
        ("Layers", false),
    ] {
        assert_eq!(template.uses(field), is_used, "{field}");
    }
}

#[test]
fn errors_are_found_before_any_row() {
    for (template, text, hint) in [
        (
            "{{.Nope}}",
            "an image has no field `Nope`",
            "fields: ID, Repository, Tag,",
        ),
        (
            "{{.Repositry}}",
            "no field `Repositry`",
            "did you mean `.Repository`?",
        ),
        ("{{.id}}", "no field `id`", "did you mean `.ID`?"),
        (
            "{{if .Held}}x{{else}}{{.Nope}}{{end}}",
            "no field `Nope`",
            "",
        ),
        (
            "{{range .Layers}}{{.Nope}}{{end}}",
            "a layer has no field `Nope`",
            "fields: ID, Size",
        ),
        (
            "{{range .Names}}{{.Tag}}{{end}}",
            "a string has no field `Tag`",
            "`$.Tag`",
        ),
        ("{{.Tag.Size}}", "a string has no field `Size`", ""),
        (
            "{{Tag}}",
            "unknown function `Tag`",
            "begins with a dot: `.Tag`",
        ),
        (
            "{{foo .Tag}}",
            "unknown function `foo`",
            "functions: json, upper,",
        ),
        ("{{html .Tag}}", "`html` is not supported", ""),
        ("{{define \"a\"}}{{end}}", "`define` is not supported", ""),
        (
            "{{range .Names}}{{break}}{{end}}",
            "`break` is not supported",
            "",
        ),
        ("{{template \"a\"}}", "`template` is not supported", ""),
        (
            "{{if .Tag}}a{{else with .ID}}b{{end}}",
            "`{{else with}}` is not supported",
            "",
        ),
        ("{{1.5}}", "floating-point numbers are not supported", ""),
        ("{{'a'}}", "character constants are not supported", ""),
        ("{{nil}}", "`nil` is not supported", ""),
        ("{{.Tag", "does not end with `}}`", ""),
        ("{{.Tag}", "unexpected character `}`", ""),
        ("{{}}", "is empty", ""),
        ("{{\"a}}", "a string does not end", ""),
        ("{{\"\\z\"}}", "unknown escape `\\z`", ""),
        ("{{/* a }}", "a comment does not end", ""),
        ("{{12x}}", "`12x` is not a number", ""),
        ("{{99999999999999999999}}", "is not a number", ""),
        ("{{if .Tag}}", "`{{if}}` has no `{{end}}`", ""),
        ("{{end}}", "`{{end}}` ends nothing", ""),
        ("{{else}}", "`{{else}}` ends nothing", ""),
        (
            "{{if .Tag}}{{else}}{{else}}{{end}}",
            "`{{else}}` follows `{{else}}`",
            "",
        ),
        ("{{if}}{{end}}", "a value is missing", ""),
        ("{{end 3}}", "unexpected `3`", ""),
        ("{{(.Tag}}", "a parenthesis is not closed", ""),
        ("{{.Tag)}}", "unexpected `)`", ""),
        (
            "{{.Tag .ID}}",
            "`.ID` follows a value that is not a function",
            "",
        ),
        ("{{.Tag | .ID}}", "what follows `|` is not a function", ""),
        ("{{.Tag |}}", "a value is missing", ""),
        ("{{$x}}", "the variable `$x` is not set", ""),
        ("{{if .Tag}}{{$x := 1}}{{end}}{{$x}}", "`$x` is not set", ""),
        (
            "{{$x := 1}}{{$x = \"a\"}}",
            "`$x` is a number and cannot become a string",
            "",
        ),
        ("{{$x = 1}}", "`$x` is not set", ""),
        ("{{$x, $y := .Names}}", "too many variables", ""),
        ("{{$ := 1}}", "`$` cannot be set", ""),
        (
            "{{range .Tag}}{{end}}",
            "`range` takes a list, not a string",
            "",
        ),
        (
            "{{range 3}}{{end}}",
            "`range` takes a list, not a number",
            "",
        ),
        ("{{upper 3}}", "`upper` takes a string, not a number", ""),
        ("{{upper}}", "`upper` takes a string, not nothing", ""),
        (
            "{{.Names | join \",\"}}",
            "`join` takes a list, a string, not a string, a list",
            "",
        ),
        (
            "{{truncate .ID}}",
            "`truncate` takes a string, a number, not a string",
            "",
        ),
        ("{{eq .Tag 1}}", "`eq` takes", ""),
        ("{{lt .Held true}}", "`lt` takes", ""),
        ("{{upper (or .Tag 1)}}", "not a value of several types", ""),
        ("{{index .Tag 0}}", "`index` takes a list, a number", ""),
    ] {
        let mistake = Template::compile(template, &IMAGE).expect_err(template);
        assert!(mistake.text.contains(text), "{template}: {mistake:?}");
        let found = mistake.hint.unwrap_or_default();
        assert!(found.contains(hint), "{template}: {found}");
    }
}

#[test]
fn a_row_that_is_too_short_is_an_error() {
    for (template, text) in [
        ("{{index .Names 2}}", "element 2 of a list of 2"),
        ("{{index .None -1}}", "element -1 of a list of 0"),
        (
            "{{slice .ID 3 2}}",
            "`slice` cannot take 3 to 2 of `fd2d4af9182d`",
        ),
        ("{{slice .Names 0 9}}", "0 to 9 of a list of 2"),
        ("{{slice \"ä\" 1}}", "`slice` cannot take 1 to 2"),
        (
            "{{pad .Tag 999999999 0}}",
            "cannot pad with 999999999 spaces",
        ),
        ("{{pad .Tag -1 0}}", "cannot pad with -1 spaces"),
    ] {
        let template = Template::compile(template, &IMAGE).expect(template);
        let mistake = template.render([&image("1")]).expect_err(text);
        assert!(mistake.text.contains(text), "{mistake:?}");
    }
}

#[test]
fn any_input_is_a_template_or_an_error() {
    let deep = |open: &str, close: &str| open.repeat(5000) + ".Tag" + &close.repeat(5000);
    for template in [
        format!("{{{{{}}}}}", deep("(", ")")),
        "{{if .Tag}}".repeat(5000),
        "{{if .Tag}}".repeat(60) + "x" + &"{{end}}".repeat(60),
        "{{range .Names}}{{else}}".repeat(5000),
    ] {
        drop(Template::compile(&template, &IMAGE));
    }
    // Every beginning of templates in which every kind of token occurs.
    let whole = "a {{- /* c */ -}}{{if and .Tag (eq .ID \"é\\x41\" `r`) | not}}{{$x := -0x1f}}{{range $i, $e := .Names}}\
                 {{printf \"%-5.2s\" $e}}{{else}}{{end}}{{else if 1}}{{end}} -}}";
    for (end, _) in whole.char_indices() {
        drop(Template::compile(&whole[..end], &IMAGE));
        drop(Template::compile(&whole[end..], &IMAGE));
    }
}

#[test]
fn a_format_is_a_template_if_it_has_an_action() {
    for (text, is) in [
        ("{{.ID}}", true),
        ("raw", true),
        ("a {{.ID}}", true),
        ("table", false),
        ("json", false),
        ("jsno", false),
        ("", false),
    ] {
        assert_eq!(is_template(text), is, "{text}");
    }
    assert_eq!(of_table("table {{.ID}}"), Some(" {{.ID}}"));
    assert_eq!(of_table("table\\t{{.ID}}"), Some("\\t{{.ID}}"));
    assert_eq!(of_table("tables {{.ID}}"), None);
}

/// Other verbs and flags of Go's `printf` are errors and not printed as something else.
#[test]
fn other_verbs_and_flags_of_printf_are_an_error() {
    for format in ["%+v", "%x", "%#v", "% d", "%*d", "%[1]s", "%5T"] {
        let text = format!("{{{{printf {format:?} .ID}}}}");
        let template = Template::compile(&text, &IMAGE).expect("the format may be made of fields");
        let mistake = template.render([&image("1.4")]).expect_err(format);
        let said = mistake.text;
        assert!(said.contains("%s, %v, %d, %q and %t"), "{said}");
        assert!(said.contains(format), "{said}");
    }
}
