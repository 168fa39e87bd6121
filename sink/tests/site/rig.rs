//! A sink on a thread of its own, with real sockets, and the files that it leaves.

use behaviour::{DelayRule, ReplyRule, Rule, Site, Sites};
use sink::{Config, Error, Show, Sink, Totals};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread::JoinHandle;
use tempfile::TempDir;
use tokio::sync::oneshot;

pub struct Rig {
    pub address: SocketAddr,
    /// All of them, that one first.
    pub addresses: Vec<SocketAddr>,
    pub folder: TempDir,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<Totals, Error>>,
}

/// The account of a sink that has ended.
pub struct Account {
    pub totals: Totals,
    /// The ledger as written.
    pub ledger: serde_json::Value,
    /// The names of the columns of deliveries.csv, and its cells.
    pub columns: Vec<String>,
    pub deliveries: Vec<Vec<String>>,
    /// The rows of in_flight.csv.
    pub in_flight: Vec<(u64, u64)>,
}

/// A configuration with these rules on a free port, with no files.
pub fn config(seed: u64, delays: &[&str], replies: &[&str]) -> Config {
    let none = |name: &str| Err(format!("no file {name}"));
    let delays = delays.iter().map(|text| DelayRule::parse(text, &none).unwrap().into());
    let replies = replies.iter().map(|text| ReplyRule::parse(text).unwrap().into());
    let site = Site::new("sink", &delays.chain(replies).collect::<Vec<Rule>>()).unwrap();
    Config { ids: true, ..Config::new(vec!["127.0.0.1:0".parse().unwrap()], Sites::one(seed, site)) }
}

impl Rig {
    pub fn new(delays: &[&str], replies: &[&str]) -> Rig {
        Rig::start(config(0, delays, replies))
    }

    pub fn start(config: Config) -> Rig {
        Rig::start_with(config, io::sink(), None)
    }

    /// Starts a sink that says to `out` when it is ready and shows where it stands.
    pub fn start_with(mut config: Config, out: impl Write + Send + 'static, show: Option<Show>) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        config.ledger = Some(folder.path().join("ledger.json"));
        config.trace = Some(folder.path().join("trace"));
        config.authority = Some(folder.path().join("authority.pem"));
        let sink = Sink::open(config).unwrap();
        let addresses = sink.addresses().to_vec();
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            // An error is a rig that was dropped: stop as well.
            let _ = stopped.await;
        };
        let thread = std::thread::spawn(move || sink.run(|| Ok(stopped), out, show));
        Rig { address: addresses[0], addresses, folder, stop, thread }
    }

    pub fn stop(self) -> Account {
        self.stop.send(()).expect("the sink is running");
        let totals = self.thread.join().unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap();
        let rows = |name: &str, header: &str| {
            let text = read(name);
            let rows = text.strip_prefix(header).expect("the header is as documented");
            rows.lines().map(|row| row.split(',').map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
        };
        let number = |cell: &String| cell.parse::<u64>().unwrap();
        Account {
            totals,
            ledger: serde_json::from_str(&read("ledger.json")).unwrap(),
            columns: DELIVERIES_HEADER.trim_end().split(',').map(str::to_owned).collect(),
            deliveries: rows("trace/deliveries.csv", DELIVERIES_HEADER),
            in_flight: rows("trace/in_flight.csv", "at_ns,in_flight\n")
                .iter()
                .map(|row| (number(&row[0]), number(&row[1])))
                .collect(),
        }
    }
}

pub const DELIVERIES_HEADER: &str = "id,connection,start_ns,end_ns,code,tls,again,banner_us,ehlo_us,starttls_us,\
    handshake_us,auth_us,mail_us,rcpt_us,data_us,body_us,sha256\n";
