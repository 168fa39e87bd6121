//! `mailrig sink` as a site file describes it, keeping what it takes, and the account that it gives in the end.

use crate::sites::HOST_NAME;
use crate::support::Sink;
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A sink of one site.
pub struct KeepingSink {
    sink: Sink,
    folder: TempDir,
}

/// What came of it all.
pub struct Account {
    pub ledger: Value,
    /// In the order of connections and messages.
    pub letters: Vec<Letter>,
}

/// A message as it was kept.
#[derive(PartialEq, Eq)]
pub struct Letter {
    pub from: String,
    pub to: Vec<String>,
    pub content: Vec<u8>,
}

impl KeepingSink {
    /// `site` is what its table in the site file says beside its names. What it kept with it is gone when it is.
    pub fn start(site: &str) -> KeepingSink {
        let folder = tempfile::tempdir().unwrap();
        let in_folder = |name: &str| folder.path().join(name).display().to_string();
        let site = format!("[[site]]\nname = \"foreign\"\nhostname = \"{HOST_NAME}\"\n{site}\n");
        fs::write(in_folder("site.toml"), site).unwrap();
        let keep = format!("files:{}", in_folder("kept"));
        let (site, authority) = (in_folder("site.toml"), in_folder("authority.pem"));
        let arguments = ["--quiet", "--site", &site, "--keep", &keep, "--authority", &authority];
        let sink = Sink::start(folder.path(), "ledger", &arguments);
        KeepingSink { sink, folder }
    }

    pub fn address(&self) -> &str {
        &self.sink.address
    }

    pub fn port(&self) -> u16 {
        self.address().parse::<SocketAddr>().unwrap().port()
    }

    /// The certificate that clients are told to trust.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Puts `content` where a program can read it.
    pub fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// Stops the sink. That its ledger agrees with what it kept is held for every client and site.
    pub fn stop(self) -> Account {
        let ledger = self.sink.stop();
        let mut files: Vec<((u64, u64), PathBuf)> = fs::read_dir(self.folder.path().join("kept"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter_map(|path| Some((numbers(&path)?, path)))
            .collect();
        files.sort_unstable();
        let letters: Vec<Letter> = files.iter().map(|(_, path)| Letter::read(path)).collect();
        let bytes: usize = letters.iter().map(|letter| letter.content.len()).sum();
        assert_eq!(
            (&ledger["messages"], &ledger["bytes"]),
            (&letters.len().into(), &bytes.into()),
            "{ledger}"
        );
        Account { ledger, letters }
    }
}

impl Account {
    pub fn number(&self, key: &str) -> u64 {
        self.ledger[key].as_u64().unwrap_or_else(|| panic!("{key} in {}", self.ledger))
    }

    /// How often the sink said `code` at `stage`.
    pub fn replies(&self, stage: &str, code: u16) -> u64 {
        let outcomes = self.ledger["outcomes"].as_array().unwrap();
        let alike = outcomes.iter().filter(|one| one["stage"] == stage && one["code"] == code);
        alike.map(|one| one["count"].as_u64().unwrap()).sum()
    }

    /// Every refusal by code, and how often.
    pub fn refused(&self) -> Vec<(u16, u64)> {
        let refused = self.ledger["refused"].as_object().unwrap();
        refused.iter().map(|(code, count)| (code.parse().unwrap(), count.as_u64().unwrap())).collect()
    }

    /// These messages were kept and no others, byte for byte.
    pub fn assert_kept(&self, expected: &[Letter]) {
        let shown = |letters: &[Letter]| letters.iter().map(Letter::shown).collect::<Vec<String>>();
        assert!(self.letters == expected, "{:#?}\nnot\n{:#?}", shown(&self.letters), shown(expected));
    }

    /// Every content of [`crate::content::contents`] came once.
    pub fn assert_all_contents_counted(&self) {
        let ids = serde_json::json!({"content/1/0": 1, "content/2/0": 1, "content/3/0": 1});
        assert_eq!(self.ledger["ids"], ids);
    }
}

impl Letter {
    pub fn new(from: &str, to: &[&str], content: &[u8]) -> Letter {
        let to = to.iter().map(|one| (*one).to_owned()).collect();
        Letter { from: from.to_owned(), to, content: content.to_owned() }
    }

    /// Takes a kept file apart: the envelope stands in fields before the content.
    fn read(path: &Path) -> Letter {
        let file = fs::read(path).unwrap();
        let mut content = &file[..];
        let mut field = |name: &str| {
            let value = content.strip_prefix(name.as_bytes())?;
            let end = value.windows(2).position(|two| two == b"\r\n").unwrap();
            content = &value[end + 2..];
            Some(String::from_utf8(value[..end].to_vec()).unwrap())
        };
        let from = field("Return-Path: ").expect("a kept file begins with its sender");
        let from = from.trim_matches(['<', '>']).to_owned();
        let to = std::iter::from_fn(|| field("Delivered-To: ")).collect();
        Letter { from, to, content: content.to_vec() }
    }

    fn shown(&self) -> String {
        let beginning = &self.content[..self.content.len().min(200)];
        format!("{} -> {:?}: {} bytes, {}", self.from, self.to, self.content.len(), beginning.escape_ascii())
    }
}

/// Connection and message in the name of a kept file.
fn numbers(path: &Path) -> Option<(u64, u64)> {
    let (connection, message) = path.file_name()?.to_str()?.strip_suffix(".eml")?.split_once('-')?;
    Some((connection.parse().ok()?, message.parse().ok()?))
}
