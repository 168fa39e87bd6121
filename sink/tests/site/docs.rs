//! docs/SINK.md against what there is: its lines parse, its dialogues exist, and it leaves nothing out.

use crate::dialogues;
use crate::rig::DELIVERIES_HEADER;
use behaviour::{SiteFile, Then, fault};
use sink::{Live, Totals};
use smtp::Stage;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SINK.md")).unwrap()
}

fn parse(text: &str) -> Result<SiteFile, String> {
    SiteFile::parse(text, "docs/SINK.md", &|_| Ok("10ms\n".to_owned())).map_err(|error| error.to_string())
}

/// What stands between backquotes.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the tables of behaviours: lines of a site file, and dialogues.
fn behaviours(page: &str) -> Vec<(String, Vec<String>)> {
    let part = page.split("\n## ").find(|part| part.starts_with("Behaviours\n")).unwrap();
    let rows = part.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what it does"));
    rows.filter(|line| !line.starts_with("| ---"))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let [_, who, toml, dialogues] = cells.as_slice() else { panic!("not four cells: {line}") };
            assert!(!who.is_empty(), "nobody does this: {line}");
            let toml =
                if *toml == "always" { String::new() } else { code(toml).collect::<Vec<_>>().join("\n") };
            (toml, code(dialogues).map(str::to_owned).collect())
        })
        .collect()
}

/// The last part of each key in lines of a site file.
fn keys(toml: &str) -> impl Iterator<Item = &str> {
    let parts = toml.match_indices(" = ").map(|(at, _)| &toml[..at]);
    parts.filter_map(|before| before.rsplit([' ', '.', '\n', '{']).next())
}

#[test]
fn every_line_is_one_of_a_site_file_and_of_its_dialogue() {
    let page = page();
    let rows = behaviours(&page);
    assert!(rows.len() > 70, "{} rows", rows.len());
    let files = dialogues::files();
    for (toml, names) in &rows {
        let site = format!("[[site]]\nname = \"home\"\n[[site]]\nname = \"x\"\n{toml}\n");
        parse(&site).unwrap_or_else(|error| panic!("{toml}: {error}"));
        assert!(!names.is_empty(), "no dialogue for {toml}");
        for name in names {
            let file = files.iter().find(|file| file.file_stem().unwrap().to_str() == Some(name));
            let file = file.unwrap_or_else(|| panic!("no dialogue {name}"));
            let dialogue = fs::read_to_string(file).unwrap();
            for key in keys(toml).filter(|key| *key != "rule") {
                assert!(dialogue.contains(key), "{name} has no {key}");
            }
        }
    }
    let named: BTreeSet<&str> = rows.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(named.contains(name), "the page does not name the dialogue {name}");
    }
    let blocks: Vec<&str> = page.split("```").filter_map(|block| block.strip_prefix("toml\n")).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        parse(block).unwrap_or_else(|error| panic!("{block}: {error}"));
    }
}

#[test]
fn nothing_is_left_out() {
    let page = page();
    let words: BTreeSet<&str> = code(&page).flat_map(|span| span.split([' ', '=', ',', '"'])).collect();
    let mut missing = Vec::new();
    let mut wanted = |kind: &str, names: &[&str]| {
        missing
            .extend(names.iter().filter(|name| !words.contains(**name)).map(|name| format!("{kind} {name}")));
    };
    wanted("fault", &fault::NAMES);
    wanted("stage", &Stage::ALL.map(Stage::as_str));
    wanted("end", &Then::ALL.map(Then::as_str));
    wanted("column", &DELIVERIES_HEADER.trim_end().split(',').collect::<Vec<_>>());
    for fields in [serde_json::to_value(Totals::default()), serde_json::to_value(Live::default())] {
        let fields = fields.unwrap();
        wanted("field", &fields.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>());
    }
    // A key that is like none is answered by a list of all.
    for table in [
        "",
        "[site.extensions]\n",
        "[site.extensions.limits]\n",
        "[site.tls]\n",
        "[[site.rule]]\n",
        "[site.rule.when]\n",
    ] {
        let text = match table {
            "[site.rule.when]\n" => {
                "[[site]]\nname = \"x\"\n[[site.rule]]\nat = \"dot\"\nwhen = { zzzzzzzz = 1 }\n".to_owned()
            }
            table => format!("[[site]]\nname = \"x\"\n{table}zzzzzzzz = 1\n"),
        };
        let error = parse(&text).unwrap_err();
        let (_, keys) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
        wanted("key", &keys.split(", ").collect::<Vec<_>>());
    }
    assert!(missing.is_empty(), "not in docs/SINK.md: {missing:?}");
}
