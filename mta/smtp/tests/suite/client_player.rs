//! Plays a dialogue against a client session. Its own steps:
//!
//! ```text
//! set hello=NAME protocol=lmtp pipelining=off chunking=on
//! set tls=opportunistic|required auth=USER:PASSWORD auth_without_tls=yes
//! begin from=<A> to=<B> .. [size=N] [8bit] [utf8]     body TEXT     finish     abandon REASON     wrote
//! quit     eof REASON     deadline 300s|none     idle yes|no
//! tls established     tls failed REASON          the session must have asked for the handshake
//! new [over tls]      this session is over and another begins, at the greeting
//! ```
//! Events of kind `reply` may be left out of a script. That for the handshake is not in the trace: whether it comes
//! before the session ends over bytes that should not be there depends on how they are cut.

use crate::dialogues::Played;
use crate::script::{Cut, Script, Step, next_event, show, unescape};
use smtp::client::{Cause, Credentials, Event, Options, Outcome, Session, Tls, Transaction};
use smtp::reply::MAX_REPLY_LINE;
use smtp::{ForwardPath, Protocol, ReversePath};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn play(script: &Script, cut: Cut) -> Result<Played, String> {
    let mut player = Player::new(script, cut);
    let mut at = 0;
    for (index, (line, step)) in script.steps.iter().enumerate() {
        let next = script.steps.get(index + 1).map(|(_, step)| step);
        let result = match step {
            Step::Event(expected) => next_event(&player.trace, &mut at, expected, is_optional),
            step => player.step(step, matches!(next, Some(Step::Server(_)))),
        };
        result.map_err(|error| format!("line {line}: {error}"))?;
    }
    player.check_end()?;
    match player.trace[at..].iter().find(|event| !is_optional(event)) {
        Some(event) => Err(format!("event that the script does not have: {event}")),
        None => Ok(Played { trace: player.trace, input_bytes: player.fed_bytes }),
    }
}

fn is_optional(event: &str) -> bool {
    event.starts_with("reply ") || event.starts_with("new")
}

struct Player {
    session: Session,
    options: Arc<Options>,
    cut: Cut,
    now: Instant,
    /// What the server sends in one go, while its lines are collected.
    block: Vec<u8>,
    input: Vec<u8>,
    out: Vec<u8>,
    fed_bytes: usize,
    trace: Vec<String>,
    begun: usize,
    done: usize,
    closed: bool,
    /// The session asked for the TLS handshake.
    handshake: bool,
    /// The last transaction was begun on a session that was over.
    begun_late: bool,
}

impl Player {
    fn new(script: &Script, cut: Cut) -> Player {
        let mut options = Options::new(script.setting("hello").unwrap_or("client.test"));
        options.pipelining = script.setting("pipelining") != Some("off");
        options.chunking = script.setting("chunking") == Some("on");
        if script.setting("protocol") == Some("lmtp") {
            options.protocol = Protocol::Lmtp;
        }
        options.tls = match script.setting("tls") {
            None => Tls::Never,
            Some("opportunistic") => Tls::Opportunistic,
            Some("required") => Tls::Required,
            Some(other) => panic!("unknown tls={other}"),
        };
        options.auth = script.setting("auth").map(|text| {
            let (user, password) = text.split_once(':').unwrap();
            let text = |text: &str| String::from_utf8(unescape(text)).unwrap();
            Credentials { user: text(user), password: text(password) }
        });
        options.auth_without_tls = script.setting("auth_without_tls") == Some("yes");
        let (options, now) = (Arc::new(options), Instant::now());
        Player {
            session: Session::new(options.clone(), now),
            options,
            cut,
            now,
            block: Vec::new(),
            input: Vec::new(),
            out: Vec::new(),
            fed_bytes: 0,
            trace: Vec::new(),
            begun: 0,
            done: 0,
            closed: false,
            handshake: false,
            begun_late: false,
        }
    }

    fn step(&mut self, step: &Step, block_goes_on: bool) -> Result<(), String> {
        match step {
            Step::Client(bytes) => {
                if !self.out.starts_with(bytes) {
                    return Err(format!("client wrote\n  {}\nnot\n  {}", show(&self.out), show(bytes)));
                }
                self.out.drain(..bytes.len());
            }
            Step::Server(bytes) => {
                self.block.extend_from_slice(bytes);
                if !block_goes_on {
                    let block = std::mem::take(&mut self.block);
                    for piece in self.cut.pieces(self.fed_bytes, &block) {
                        self.input.extend_from_slice(piece);
                        self.pull()?;
                    }
                    self.fed_bytes += block.len();
                }
            }
            Step::Wait(time) => {
                self.now += *time;
                self.session.expire(self.now);
                self.pull()?;
            }
            Step::Event(_) => unreachable!("events are for the caller"),
            Step::Other(line) => {
                self.other(line)?;
                self.pull()?;
            }
        }
        Ok(())
    }

    fn other(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let expect = |is: &str| if is == rest { Ok(()) } else { Err(format!("{word} is {is}")) };
        match word {
            "set" => {}
            "new" => {
                self.check_end()?;
                self.session = match rest {
                    "over tls" => Session::over_tls(self.options.clone(), self.now),
                    _ => Session::new(self.options.clone(), self.now),
                };
                self.input.clear();
                (self.begun, self.done, self.closed, self.begun_late) = (0, 0, false, false);
                self.handshake = false;
                self.trace.push(line.to_owned());
            }
            "tls" => {
                if !std::mem::take(&mut self.handshake) {
                    return Err("the session did not ask for the TLS handshake".to_owned());
                }
                match rest.strip_prefix("failed ") {
                    Some(reason) => self.session.tls_failed(reason, self.now),
                    None => self.session.tls_established(self.now, &mut self.out),
                }
            }
            "begin" => {
                self.begun += 1;
                self.begun_late = self.closed;
                self.session.begin(transaction(rest), self.now, &mut self.out);
            }
            "body" => self.session.send_body(unescape(rest), &mut self.out),
            "finish" => self.session.finish_body(self.now, &mut self.out),
            "abandon" => self.session.abandon_body(rest, self.now),
            "wrote" => self.session.wrote(self.now),
            "quit" => self.session.quit(self.now, &mut self.out),
            "eof" => self.session.closed(self.now, rest),
            "idle" => return expect(if self.session.is_idle() { "yes" } else { "no" }),
            "deadline" => {
                let left = self.session.deadline().map(|deadline| deadline - self.now);
                return expect(&left.map_or("none".to_owned(), |left| format!("{}s", left.as_secs())));
            }
            _ => panic!("unknown step {line}"),
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<(), String> {
        let mut at = 0;
        loop {
            let (consumed, event) = self.session.next(&self.input[at..], self.now, &mut self.out);
            at += consumed;
            let Some(event) = event else { break };
            match &event {
                Event::Done(_) if self.closed && !self.begun_late => {
                    return Err("done after closed".to_owned());
                }
                Event::Done(_) => self.done += 1,
                Event::Closed(_) if self.closed => return Err("closed twice".to_owned()),
                Event::Closed(_) => self.closed = true,
                Event::StartTls => {
                    self.handshake = true;
                    continue;
                }
                Event::Reply { .. } | Event::SendBody => {}
            }
            self.trace.push(event_text(&event));
        }
        self.input.drain(..at);
        let kept = self.input.len();
        if kept >= MAX_REPLY_LINE { Err(format!("{kept} bytes are left in the buffer")) } else { Ok(()) }
    }

    fn check_end(&mut self) -> Result<(), String> {
        if !self.out.is_empty() {
            return Err(format!("client also wrote {}", show(&self.out)));
        }
        if self.begun != self.done {
            return Err(format!("{} transactions were begun and {} are done", self.begun, self.done));
        }
        Ok(())
    }
}

fn transaction(text: &str) -> Transaction {
    let mut transaction = Transaction {
        reverse_path: ReversePath::Null,
        recipients: Vec::new(),
        size_bytes: None,
        eight_bit: false,
        smtp_utf8: false,
    };
    let address = |text: &str| text.strip_prefix('<').unwrap().strip_suffix('>').unwrap().to_owned();
    for word in text.split(' ') {
        match word.split_once('=') {
            Some(("from", path)) => {
                transaction.reverse_path = ReversePath::parse_utf8(&address(path)).unwrap()
            }
            Some(("to", path)) => {
                transaction.recipients.push(ForwardPath::parse_utf8(&address(path)).unwrap())
            }
            Some(("recipients", count)) => {
                let one = ForwardPath::parse("x@y").unwrap();
                transaction.recipients.extend(std::iter::repeat_n(one, count.parse().unwrap()));
            }
            Some(("size", size)) => transaction.size_bytes = Some(size.parse().unwrap()),
            None if word == "8bit" => transaction.eight_bit = true,
            None if word == "utf8" => transaction.smtp_utf8 = true,
            _ => panic!("unknown word {word}"),
        }
    }
    transaction
}

fn event_text(event: &Event) -> String {
    match event {
        Event::Reply { stage, code, elapsed } if *elapsed == Duration::ZERO => {
            format!("reply {stage} {code}")
        }
        Event::Reply { stage, code, elapsed } => format!("reply {stage} {code} after {}s", elapsed.as_secs()),
        Event::SendBody => "send-body".to_owned(),
        Event::StartTls => unreachable!("the trace does not have it"),
        Event::Done(outcome) => outcome_text(outcome),
        Event::Closed(cause) => match cause {
            Cause::Quit => "closed quit".to_owned(),
            Cause::PeerClosed { stage } => format!("closed peer-closed {stage}"),
            Cause::LostAfterFinalDot => "closed lost-after-final-dot".to_owned(),
            Cause::Timeout { stage } => format!("closed timeout {stage}"),
            Cause::Protocol { stage, error } => format!("closed protocol {stage}: {error}"),
            Cause::Refused { stage, reply } => format!("closed refused {stage}: {}", reply.one_line()),
            Cause::Unusable { stage, reason } => format!("closed unusable {stage}: {reason}"),
            Cause::Abandoned { stage, reason } => format!("closed abandoned {stage}: {reason}"),
        },
    }
}

/// Equal statuses next to each other are counted.
fn outcome_text(outcome: &Outcome) -> String {
    let mut text = format!("done {:?}", outcome.hop).to_lowercase();
    for alike in outcome.recipients.chunk_by(|left, right| left == right) {
        let status = &alike[0];
        text.push_str(" |");
        if alike.len() > 1 {
            text.push_str(&format!(" {} times", alike.len()));
        }
        let code = status.code.map_or("-".to_owned(), |code| code.to_string());
        let disposition = format!("{:?}", status.disposition).to_lowercase();
        text.push_str(&format!(" {disposition} {code} {} {} {}", status.enhanced, status.stage, status.text));
    }
    text
}
