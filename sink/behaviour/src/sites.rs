//! All the sites of one sink: which of them a connection has to do with, and its dialogue with them.

use crate::act::Step;
use crate::site::{Grown, Site};
use crate::when::{Client, Words};
use fastrand::Rng;
use smtp::{ForwardPath, ReversePath, Stage};
use std::net::{IpAddr, SocketAddr};

/// The sites, in the order of the file that they came from; at least one.
#[derive(Debug, Clone)]
pub struct Sites {
    seed: u64,
    sites: Vec<Site>,
    needs_words: bool,
    by_recipient: bool,
}

/// One connection's side of the sites: its own random stream, and what its client has done so far.
#[derive(Debug, Clone)]
pub struct Dialogue {
    random: Rng,
    client: Client,
    /// Places among the sites: whose connection it is, and whose the transaction has become.
    home: u16,
    of_transaction: u16,
}

/// What the client just said, where the stage alone does not tell.
#[derive(Debug, Clone, Copy)]
pub enum Heard<'a> {
    Nothing,
    Hello(&'a str),
    Sender(&'a ReversePath),
    Recipient(&'a ForwardPath),
    /// At the dot of LMTP: the reply for this one of the accepted recipients, from 0.
    Accepted(usize),
}

impl Sites {
    /// # Errors
    /// No site or too many, or one whose weight is none.
    pub fn new(seed: u64, sites: Vec<Site>) -> Result<Sites, String> {
        if sites.iter().all(|site| !site.recipients.is_empty()) {
            return Err(
                "every site is for certain recipients; one without `recipients` must take the connections"
                    .to_owned(),
            );
        }
        if sites.len() > SITES_MAX {
            return Err(format!("{} sites are too many; {SITES_MAX} may be", sites.len()));
        }
        if let Some(site) = sites.iter().find(|site| !(site.weight > 0.0 && site.weight.is_finite())) {
            return Err(format!("the weight of site {} is not a number above 0", site.name));
        }
        let by_recipient = sites.iter().any(|site| !site.recipients.is_empty());
        let needs_words = by_recipient || sites.iter().any(Site::needs_words);
        Ok(Sites { seed, sites, needs_words, by_recipient })
    }

    /// One site at every address.
    pub fn one(seed: u64, site: Site) -> Sites {
        let needs_words = site.needs_words();
        Sites { seed, sites: vec![Site { recipients: Vec::new(), ..site }], needs_words, by_recipient: false }
    }

    /// Keeps what clients say for [`Dialogue::words`], whether rules ask for it or not.
    pub fn keep_words(&mut self) {
        self.needs_words = true;
    }

    /// What listens on `asked`, with port 0, listens on `bound`.
    pub fn bound(&mut self, asked: SocketAddr, bound: SocketAddr) {
        let listens = self.sites.iter_mut().flat_map(|site| &mut site.listen);
        listens.filter(|listen| **listen == asked).for_each(|listen| *listen = bound);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Site> {
        self.sites.iter()
    }

    /// Whether some site takes connections at `address`.
    pub fn is_at(&self, address: SocketAddr) -> bool {
        self.at(address).next().is_some()
    }

    /// The receive buffer that connections to `address` begin with: the largest of its sites', if all have one.
    pub fn window_bytes_at(&self, address: SocketAddr) -> Option<usize> {
        self.at(address)
            .map(|(_, site)| site.offer.window_bytes)
            .max()
            .flatten()
            .filter(|_| self.at(address).all(|(_, site)| site.offer.window_bytes.is_some()))
    }

    /// A connection's dialogue; `number` is its own among the sink's, from 1. The same seed, number and occasions give
    /// the same steps. `None` where no site is at `local`.
    pub fn dialogue(&self, number: u64, local: SocketAddr, client: IpAddr) -> Option<Dialogue> {
        let mut random = Rng::with_seed(mix(self.seed ^ mix(number)));
        let mut here = self.at(local).peekable();
        let (first, _) = here.next()?;
        let home = match here.peek() {
            None => first,
            Some(_) => {
                let total: f64 = self.at(local).map(|(_, site)| site.weight).sum();
                let mut left = random.f64() * total;
                let drawn = self.at(local).find(|(_, site)| {
                    left -= site.weight;
                    left < 0.0
                });
                drawn.map_or(first, |(place, _)| place)
            }
        };
        let words = self.needs_words.then(Box::default);
        let client =
            Client { address: client, connection: number, tls: false, auth: false, message: 1, words };
        Some(Dialogue { random, client, home, of_transaction: home })
    }

    /// Whose connection it is.
    pub fn home(&self, dialogue: &Dialogue) -> &Site {
        &self.sites[usize::from(dialogue.home)]
    }

    /// Whose the transaction under way is: its home's until a recipient makes it another's.
    pub fn of_transaction(&self, dialogue: &Dialogue) -> &Site {
        &self.sites[usize::from(dialogue.of_transaction)]
    }

    /// The place of that site.
    pub fn home_place(&self, dialogue: &Dialogue) -> usize {
        usize::from(dialogue.home)
    }

    /// What is done at `stage` about what was `heard`.
    pub fn step(&self, dialogue: &mut Dialogue, stage: Stage, heard: Heard<'_>) -> Step {
        dialogue.hear(heard);
        let mut place = dialogue.of_transaction;
        let accepted = match heard {
            Heard::Accepted(at) => {
                dialogue.client.words.as_ref().and_then(|words| words.recipients.get(at)).cloned()
            }
            _ => None,
        };
        let recipient = match heard {
            Heard::Recipient(recipient) => Some(recipient),
            _ => accepted.as_ref(),
        };
        if let Some(recipient) = recipient.filter(|_| self.by_recipient) {
            place = self.for_recipient(recipient).unwrap_or(dialogue.home);
        }
        self.sites[usize::from(place)].step(stage, &dialogue.client, recipient, &mut dialogue.random)
    }

    /// What is done while the body grows.
    pub fn step_at_body(&self, dialogue: &mut Dialogue, grown: Grown) -> Step {
        let site = &self.sites[usize::from(dialogue.of_transaction)];
        site.step_at_body(grown, &dialogue.client, &mut dialogue.random)
    }

    /// A recipient was accepted: the first that a site is for makes the transaction its own.
    pub fn accepted(&self, dialogue: &mut Dialogue, recipient: &ForwardPath) {
        if self.by_recipient
            && dialogue.of_transaction == dialogue.home
            && let Some(place) = self.for_recipient(recipient)
        {
            dialogue.of_transaction = place;
        }
        if let Some(words) = &mut dialogue.client.words {
            words.recipients.push(recipient.clone());
        }
    }

    fn for_recipient(&self, recipient: &ForwardPath) -> Option<u16> {
        let fits = |site: &Site| site.recipients.iter().any(|pattern| pattern.fits(recipient.as_str()));
        self.sites.iter().position(fits).map(|place| place as u16)
    }

    fn at(&self, address: SocketAddr) -> impl Iterator<Item = (u16, &Site)> {
        let here = move |site: &Site| {
            site.recipients.is_empty()
                && (site.listen.is_empty() || site.listen.iter().any(|listen| covers(*listen, address)))
        };
        self.sites
            .iter()
            .enumerate()
            .filter(move |(_, site)| here(site))
            .map(|(place, site)| (place as u16, site))
    }
}

impl Dialogue {
    /// The TLS handshake is done: what was said before counts no more (RFC 3207 §4.2).
    pub fn tls_established(&mut self) {
        self.client.tls = true;
        self.client.auth = false;
        if let Some(words) = &mut self.client.words {
            **words = Words::default();
        }
    }

    /// AUTH has succeeded.
    pub fn authenticated(&mut self) {
        self.client.auth = true;
    }

    /// What the client said in this transaction, if it is kept.
    pub fn words(&self) -> Option<&Words> {
        self.client.words.as_deref()
    }

    /// Which message of the connection it is, from 1: the one under way, or the next.
    pub fn message(&self) -> u64 {
        self.client.message
    }

    /// The transaction is over; `with_message`: a message came with it.
    pub fn transaction_ended(&mut self, with_message: bool) {
        self.client.message += u64::from(with_message);
        self.of_transaction = self.home;
        if let Some(words) = &mut self.client.words {
            words.sender = None;
            words.recipients.clear();
        }
    }

    fn hear(&mut self, heard: Heard<'_>) {
        let Some(words) = &mut self.client.words else { return };
        match heard {
            Heard::Hello(name) => words.hello = name.to_owned(),
            Heard::Sender(sender) => words.sender = Some(sender.clone()),
            Heard::Nothing | Heard::Recipient(_) | Heard::Accepted(_) => {}
        }
    }
}

/// Whether a socket that listens on `listen` gets connections to `address`; port 0 became any port.
fn covers(listen: SocketAddr, address: SocketAddr) -> bool {
    let (one, other) = (listen.ip().to_canonical(), address.ip().to_canonical());
    let same_port = listen.port() == address.port() || listen.port() == 0;
    same_port && (one == other || listen.ip().is_unspecified())
}

/// The finalizer of splitmix64: neighbouring connection numbers get streams that have nothing in common.
fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Far more than anyone writes, and a place fits sixteen bits.
const SITES_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::act::Say;
    use crate::pattern::Pattern;
    use crate::rule::{ReplyRule, Rule};

    fn site(name: &str, replies: &[&str]) -> Site {
        let rules: Vec<Rule> = replies.iter().map(|text| ReplyRule::parse(text).unwrap().into()).collect();
        Site::new(name, &rules).unwrap()
    }

    fn dialogue(sites: &Sites, number: u64) -> Dialogue {
        sites.dialogue(number, "127.0.0.1:25".parse().unwrap(), [127, 0, 0, 9].into()).unwrap()
    }

    fn code(step: &Step) -> u16 {
        match step.act.as_deref().map(|act| &act.say) {
            None => 0,
            Some(Say::Reply(reply)) => reply.code.get(),
            Some(other) => panic!("{other:?}"),
        }
    }

    fn codes(sites: &Sites, connection: u64, count: usize) -> Vec<u16> {
        let mut dialogue = dialogue(sites, connection);
        (0..count).map(|_| code(&sites.step(&mut dialogue, Stage::Rcpt, Heard::Nothing))).collect()
    }

    #[test]
    fn a_seed_repeats_and_connections_differ() {
        let with_seed = |seed| Sites::one(seed, site("one", &["rcpt=450@30", "rcpt=550@20"]));
        let (first, again, other) = (with_seed(7), with_seed(7), with_seed(8));
        let drawn = codes(&first, 1, 100);
        assert_eq!(drawn, codes(&again, 1, 100));
        assert_ne!(drawn, codes(&first, 2, 100));
        assert_ne!(drawn, codes(&other, 1, 100));

        // The mix is what was asked for, over one long connection and over the first draw of many.
        let long = codes(&first, 3, 100_000);
        let short: Vec<u16> = (0..100_000).flat_map(|number| codes(&first, number, 1)).collect();
        for drawn in [long, short] {
            let share = |wanted| drawn.iter().filter(|&&code| code == wanted).count();
            assert!((29_000..31_000).contains(&share(450)), "{}", share(450));
            assert!((19_000..21_000).contains(&share(550)), "{}", share(550));
        }
    }

    #[test]
    fn connections_are_shared_by_weight_and_address() {
        let weighted = |name, weight| Site { weight, ..site(name, &[]) };
        let elsewhere = Site { listen: vec!["127.0.0.2:25".parse().unwrap()], ..site("elsewhere", &[]) };
        let sites = Sites::new(1, vec![weighted("often", 3.0), elsewhere, weighted("seldom", 1.0)]).unwrap();
        let drawn =
            (0..10_000).filter(|&number| sites.home(&dialogue(&sites, number)).name == "often").count();
        assert!((7300..7700).contains(&drawn), "{drawn}");
        let at = |address: &str| {
            sites.at(address.parse().unwrap()).map(|(_, site)| &*site.name).collect::<Vec<_>>()
        };
        assert_eq!(at("127.0.0.2:25"), ["often", "elsewhere", "seldom"]);
        assert_eq!(at("127.0.0.2:26"), ["often", "seldom"]);
        let any = Site { listen: vec!["0.0.0.0:25".parse().unwrap()], ..site("any", &[]) };
        let sites = Sites::new(1, vec![any]).unwrap();
        assert!(
            sites.is_at("127.3.2.1:25".parse().unwrap()) && !sites.is_at("127.3.2.1:26".parse().unwrap())
        );
    }

    #[test]
    fn a_transaction_becomes_the_site_of_its_first_recipient_that_has_one() {
        let slow =
            Site { recipients: vec![Pattern::parse("*@slow.test").unwrap()], ..site("slow", &["each=451"]) };
        let sites = Sites::new(1, vec![site("home", &["dot=250 home"]), slow]).unwrap();
        let mut dialogue = dialogue(&sites, 1);
        let path = |text| ForwardPath::parse(text).unwrap();
        let (quick, slow) = (path("a@quick.test"), path("b@slow.test"));
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Rcpt, Heard::Recipient(&quick))), 0);
        sites.accepted(&mut dialogue, &quick);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Rcpt, Heard::Recipient(&slow))), 451);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Dot, Heard::Nothing)), 250);
        sites.accepted(&mut dialogue, &slow);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Dot, Heard::Nothing)), 451);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Dot, Heard::Accepted(0))), 250);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Dot, Heard::Accepted(1))), 451);
        dialogue.transaction_ended(true);
        assert_eq!(code(&sites.step(&mut dialogue, Stage::Dot, Heard::Nothing)), 250);
    }

    #[test]
    fn sites_that_nobody_reaches_are_refused() {
        let for_some = Site { recipients: vec![Pattern::parse("*").unwrap()], ..site("x", &[]) };
        assert!(Sites::new(1, vec![for_some]).unwrap_err().contains("must take the connections"));
        assert!(
            Sites::new(1, vec![Site { weight: 0.0, ..site("x", &[]) }])
                .unwrap_err()
                .contains("weight of site x")
        );
        assert!(Sites::new(1, Vec::new()).is_err());
    }
}
