//! Every dialogue file, whole, cut in two at every place, and byte by byte: the same must happen each time.

use crate::script::{Cut, Script, corpus, files};
use crate::{client_player, server_player};
use std::fs;

#[test]
fn client_dialogues() {
    play_all(&files("client-"), client_player::play);
}

#[test]
fn server_dialogues() {
    play_all(&files("server-"), server_player::play);
}

#[test]
fn every_dialogue_has_a_player() {
    let mut played = [files("client-"), files("server-")].concat();
    played.sort();
    let mut there: Vec<_> = fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().path()).collect();
    there.sort();
    assert_eq!(
        there, played,
        "a file in tests/dialogues is named client-NAME.dialogue or server-NAME.dialogue"
    );
    assert!(played.len() >= 24, "the corpus shrank to {}", played.len());
}

/// What happened, and how many bytes came from the peer.
pub struct Played {
    pub trace: Vec<String>,
    pub input_bytes: usize,
}

fn play_all(files: &[std::path::PathBuf], play: fn(&Script, Cut) -> Result<Played, String>) {
    let mut failures = Vec::new();
    for file in files {
        let script = Script::read(file);
        let whole = match play(&script, Cut::Whole) {
            Ok(played) => played,
            Err(error) => {
                failures.push(format!("{}: {error}", script.name));
                continue;
            }
        };
        for cut in script.cuts(whole.input_bytes) {
            match play(&script, cut) {
                Ok(played) if played.trace == whole.trace => {}
                Ok(played) => failures
                    .push(format!("{} {cut:?}: {:#?} is not {:#?}", script.name, played.trace, whole.trace)),
                Err(error) => failures.push(format!("{} {cut:?}: {error}", script.name)),
            }
            if failures.len() > 20 {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
