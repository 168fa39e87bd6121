//! `mailrig sink --shards`: several processes that are one sink to whoever sends to it, looks at it or reads its files.

mod support;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};
use std::sync::{Arc, Mutex};
use support::{Client, PATIENCE, Process, alive, eventually, kill, mailrig};

/// A hash spreads connections: that one of three shards gets none of so many happens once in ten million.
const CONNECTIONS: usize = 40;

/// A running sink of three shards that writes below `folder`.
struct Shards {
    process: Process,
    folder: PathBuf,
    addresses: Vec<String>,
    live: Arc<Mutex<Value>>,
    stderr: BufReader<ChildStderr>,
}

impl Shards {
    fn start(folder: &Path, arguments: &[&str]) -> Shards {
        fs::create_dir(folder.join("tmp")).unwrap();
        let mut command = mailrig();
        command.args([
            "sink",
            "--shards",
            "3",
            "--listen",
            "127.0.0.1:0",
            "127.0.0.2:0",
            "--json",
            "--quiet",
        ]);
        command.args(["--ids", "--ledger"]).arg(folder.join("ledger.json"));
        command.arg("--trace").arg(folder.join("trace")).args(arguments);
        command.env("TMPDIR", folder.join("tmp")).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process { child: command.spawn().unwrap() };
        let mut lines = BufReader::new(process.child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let addresses = lines.by_ref().take(2).map(|line| line.strip_prefix("ready ").unwrap().to_owned());
        let addresses = addresses.collect();
        let live = Arc::new(Mutex::new(Value::Null));
        let newest = Arc::clone(&live);
        std::thread::spawn(move || {
            lines.for_each(|line| *newest.lock().unwrap() = serde_json::from_str(&line).unwrap());
        });
        let stderr = BufReader::new(process.child.stderr.take().unwrap());
        Shards { process, folder: folder.to_owned(), addresses, live, stderr }
    }

    /// Waits until the live lines say this.
    fn until(&self, wanted: Value) {
        let wanted = wanted.as_object().unwrap();
        eventually(&format!("the live lines say {wanted:?}"), || {
            let live = self.live.lock().unwrap();
            wanted.iter().all(|(name, value)| live[name] == *value)
        });
    }

    fn pids(&self) -> Vec<i32> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn clients(&self) -> Vec<Client> {
        let addresses = self.addresses.iter().cycle().take(CONNECTIONS);
        let mut clients: Vec<Client> = addresses.map(|address| Client::connect(address)).collect();
        clients.iter_mut().for_each(Client::hello);
        clients
    }

    fn ledger(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.folder.join("ledger.json")).unwrap()).unwrap()
    }

    /// The cells of a file of the trace, without the header.
    fn trace(&self, name: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(self.folder.join("trace").join(name)).unwrap();
        reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    /// Nothing is left but the sink's own files.
    fn assert_tidy(&self) {
        let names = |folder: &str| -> Vec<String> {
            let entries = fs::read_dir(self.folder.join(folder)).unwrap();
            let mut names: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("tmp"), Vec::<String>::new());
        assert_eq!(names("trace"), ["deliveries.csv", "in_flight.csv"]);
    }
}

fn content(id: &str) -> Vec<u8> {
    format!("X-Mailrig-Id: {id}\r\n\r\nhello\r\n").into_bytes()
}

fn number(cell: &str) -> u64 {
    cell.parse().unwrap()
}

#[test]
fn three_shards_are_one_sink() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let keep = format!("files:{}", kept.display());
    let mut sink = Shards::start(folder.path(), &["--keep", &keep, "--reply", "noop=451"]);
    let mut clients = sink.clients();
    sink.until(serde_json::json!({
        "connections": CONNECTIONS, "connections_open": CONNECTIONS, "in_flight": CONNECTIONS, "accepted": 0
    }));
    // One message comes to every connection, and so to every shard; another only once.
    for (place, client) in clients.iter_mut().enumerate() {
        for id in [format!("run/{place}/1000"), "odd, id".to_owned()] {
            assert!(client.mail("s@client.test", &["r@sink.test"], &content(&id)).starts_with("250"));
        }
        assert!(client.say("NOOP").starts_with("451"));
    }
    sink.until(serde_json::json!({
        "connections_open": CONNECTIONS, "in_flight": 0, "accepted": 2 * CONNECTIONS,
        "refused": { "451": CONNECTIONS }
    }));
    let pids = sink.pids();
    assert_eq!(pids.len(), 3);
    assert!(sink.process.terminate().success());
    assert!(!pids.iter().any(|pid| alive(*pid)));

    let ledger = sink.ledger();
    let counts = ["messages", "unique", "duplicates", "connections", "connections_peak", "in_flight_peak"];
    let counts = counts.map(|name| ledger[name].as_u64().unwrap() as usize);
    let all = CONNECTIONS;
    assert_eq!(counts, [2 * all, all + 1, all - 1, all, all, all]);
    let mut ids: BTreeMap<String, usize> = serde_json::from_value(ledger["ids"].clone()).unwrap();
    assert_eq!(ids.remove("odd, id"), Some(all));
    assert!(ids.len() == all && ids.values().all(|count| *count == 1), "{ids:?}");
    assert_eq!(ledger["refused"], serde_json::json!({ "451": all }));
    assert_eq!(ledger.get("shards_missing"), None);

    let deliveries = sink.trace("deliveries.csv");
    assert_eq!(deliveries.len(), 2 * all);
    assert!(deliveries.is_sorted_by_key(|row| number(&row[3])));
    let (odd, single): (Vec<_>, Vec<_>) = deliveries.iter().partition(|row| row[0] == "odd, id");
    assert!(single.iter().all(|row| row[6] == "0"));
    let again: Vec<&str> = odd.iter().map(|row| &*row[6]).collect();
    assert!(again[0] == "0" && again[1..].iter().all(|again| *again == "1"), "{again:?}");
    let shards: BTreeSet<u64> = odd.iter().map(|row| number(&row[1]) % 3).collect();
    assert_eq!(shards.len(), 3, "each shard had a part");

    let samples = sink.trace("in_flight.csv");
    assert!(samples.is_sorted_by_key(|row| number(&row[0])));
    assert!(samples.iter().any(|row| number(&row[1]) as usize == all));
    assert_eq!(samples.last().unwrap()[1], "0");
    let letters = fs::read_dir(&kept).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
    assert_eq!(letters.count(), 2 * all);
    sink.assert_tidy();
}

#[test]
fn a_shard_that_is_killed_is_named_and_the_others_tell_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Shards::start(folder.path(), &["--spill"]);
    let mut clients = sink.clients();
    for client in &mut clients {
        assert!(client.mail("s@client.test", &["r@sink.test"], &content("run/1/1")).starts_with("250"));
    }
    let pids = sink.pids();
    kill(pids[1], "KILL");
    assert_eq!(sink.process.wait().code(), Some(1));
    let mut said = String::new();
    sink.stderr.read_to_string(&mut said).unwrap();
    let died = "mailrig: shard 2 of 3 ended in the run: signal: 9 (SIGKILL)";
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [&format!("{died}; ending the others"), died, "hint: ledger and trace may lack what it took in"]
    );
    assert!(!pids.iter().any(|pid| alive(*pid)));

    let ledger = sink.ledger();
    assert_eq!(ledger["shards_missing"], serde_json::json!([2]));
    let rows = sink.trace("deliveries.csv");
    assert_eq!(ledger["messages"].as_u64().unwrap() as usize, rows.len());
    let shards: BTreeSet<u64> = rows.iter().map(|row| number(&row[1]) % 3).collect();
    assert_eq!(shards, BTreeSet::from([1, 0]), "those of the first and the third");
    sink.assert_tidy();
}

#[test]
fn all_shards_show_one_certificate_and_die_with_their_parent() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    let arguments = ["--tls", "starttls", "--authority", authority.to_str().unwrap()];
    let mut sink = Shards::start(folder.path(), &arguments);
    let told = fs::read_dir(folder.path().join("tmp")).unwrap().next().unwrap().unwrap().path();
    let told = fs::read_dir(told).unwrap().map(|entry| entry.unwrap().path());
    assert!(told.into_iter().all(|path| fs::metadata(path).unwrap().len() == 0), "no keys lie about");

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth());
    let shown: BTreeSet<Vec<u8>> =
        (0..CONNECTIONS).map(|_| certificate(&sink.addresses[0], Arc::clone(&config))).collect();
    assert_eq!(shown.len(), 1);

    let pids = sink.pids();
    sink.process.signal("KILL");
    sink.process.wait();
    eventually("the shards die", || !pids.iter().any(|pid| alive(*pid)));
}

/// What a server shows after STARTTLS, if the client trusts it.
fn certificate(address: &str, config: Arc<ClientConfig>) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client::over(stream.try_clone().unwrap());
    client.hello();
    assert!(client.say("STARTTLS").starts_with("220"));
    let name = ServerName::try_from("sink.test").unwrap();
    let mut tls = ClientConnection::new(config, name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn a_duration_ends_all_shards_and_what_cannot_start_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = Shards::start(folder.path(), &["--duration", "100ms"]);
    assert!(sink.process.wait().success());
    assert_eq!(sink.ledger()["messages"], 0);

    // A folder where each shard wants to have a file.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("shard-3/in_flight.csv")).unwrap();
    let mut command = mailrig();
    command.args(["sink", "--shards", "3", "--quiet", "--listen", "127.0.0.1:0", "--trace"]);
    let output = command.arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("shard-3/in_flight.csv: Is a directory"), "{said}");
    assert!(said.contains("mailrig: shard 3 of 3 ended before it was ready: exit status: 2"), "{said}");
    assert!(!folder.path().join("shard-1").exists(), "the others have ended, and tidied up");
}
