//! Plays a dialogue against a server session. Its own steps:
//!
//! ```text
//! set max-line=N max-recipients=N max-message=N max-errors=N pipelining=off size=off 8bitmime=off enhanced=off
//! set protocol=lmtp starttls=on chunking=on smtputf8=on dsn=on requiretls=on auth=plain,login
//! set rcptmax=N mailmax=N domainmax=N keyword=WORD tls=on      (TLS from the start)
//! tls                                    the handshake after STARTTLS is done
//! offer-auth                             AUTH with both mechanisms from now on
//! answer STAGE CODE [ENHANCED] TEXT      the next valid event of that stage gets this reply, not the default one
//! ```
//! Events other than `message` may be left out of a script. Long messages are shown by their length.

use crate::dialogues::Played;
use crate::script::{Cut, Script, Step, next_event, show};
use smtp::server::{AdvertisedLimits, Credentials, Event, Extensions, Limits, Mechanisms, Options, Session};
use smtp::{EnhancedStatus, Protocol, Reply, Stage};
use std::num::NonZeroU32;
use std::sync::Arc;

pub fn play(script: &Script, cut: Cut) -> Result<Played, String> {
    let mut player = Player::new(script, cut);
    let mut at = 0;
    player.pull()?;
    for (index, (line, step)) in script.steps.iter().enumerate() {
        let next = script.steps.get(index + 1).map(|(_, step)| step);
        let result = match step {
            Step::Event(expected) => next_event(&player.trace, &mut at, expected, is_optional),
            step => player.step(step, matches!(next, Some(Step::Client(_)))),
        };
        result.map_err(|error| format!("line {line}: {error}"))?;
    }
    if !player.out.is_empty() {
        return Err(format!("server also wrote {}", show(&player.out)));
    }
    if !player.answers.is_empty() {
        return Err(format!("answers that nobody asked for: {:?}", player.answers));
    }
    match player.trace[at..].iter().find(|event| !is_optional(event)) {
        Some(event) => Err(format!("event that the script does not have: {event}")),
        None => Ok(Played { trace: player.trace, input_bytes: player.fed_bytes }),
    }
}

fn is_optional(event: &str) -> bool {
    !event.starts_with("message ")
}

struct Player {
    session: Session,
    cut: Cut,
    max_line: usize,
    options: Options,
    /// What the client sends in one go, while its lines are collected.
    block: Vec<u8>,
    input: Vec<u8>,
    out: Vec<u8>,
    fed_bytes: usize,
    message: Vec<u8>,
    trace: Vec<String>,
    answers: Vec<(Stage, Reply)>,
}

impl Player {
    fn new(script: &Script, cut: Cut) -> Player {
        let number = |key| script.setting(key).map(|value| value.parse::<u32>().unwrap());
        let on = |key| script.setting(key) != Some("off");
        let listed =
            |key, word| script.setting(key).is_some_and(|words| words.split(',').any(|one| one == word));
        let extra = |key| script.setting(key) == Some("on");
        let default = Limits::default();
        let limits = Limits {
            max_line: number("max-line").map_or(default.max_line, |bytes| bytes as usize),
            max_recipients: number("max-recipients").unwrap_or(default.max_recipients),
            max_message_bytes: number("max-message").map(u64::from),
            max_errors: number("max-errors").unwrap_or(default.max_errors),
        };
        let advertised = AdvertisedLimits {
            recipients_max: number("rcptmax").and_then(NonZeroU32::new),
            transactions_max: number("mailmax").and_then(NonZeroU32::new),
            domains_max: number("domainmax").and_then(NonZeroU32::new),
        };
        let extensions = Extensions {
            limits: Some(advertised).filter(|limits| *limits != AdvertisedLimits::default()),
            pipelining: on("pipelining"),
            size: on("size"),
            eight_bit_mime: on("8bitmime"),
            enhanced_status_codes: on("enhanced"),
            start_tls: extra("starttls"),
            chunking: extra("chunking"),
            smtp_utf8: extra("smtputf8"),
            dsn: extra("dsn"),
            require_tls: extra("requiretls"),
            auth: Mechanisms { plain: listed("auth", "plain"), login: listed("auth", "login") },
        };
        let max_line = limits.max_line;
        let protocol =
            if script.setting("protocol") == Some("lmtp") { Protocol::Lmtp } else { Protocol::Smtp };
        let options = Options {
            protocol,
            limits,
            extensions,
            extra_keywords: script.setting("keyword").map(str::to_owned).into_iter().collect(),
            ..Options::new("mx.test")
        };
        let mut session = Session::new(Arc::new(options.clone()));
        if extra("tls") {
            session.tls_established();
        }
        // Answers are looked up when an event comes, so those for the greeting have to be known before it.
        let answers = script.steps.iter().map_while(|(_, step)| match step {
            Step::Other(line) => Some(line.strip_prefix("answer banner ")),
            _ => None,
        });
        Player {
            max_line,
            options,
            session,
            cut,
            block: Vec::new(),
            input: Vec::new(),
            out: Vec::new(),
            fed_bytes: 0,
            message: Vec::new(),
            trace: Vec::new(),
            answers: answers.flatten().map(|text| (Stage::Banner, reply(text))).collect(),
        }
    }

    fn step(&mut self, step: &Step, block_goes_on: bool) -> Result<(), String> {
        match step {
            Step::Client(bytes) => {
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
            Step::Server(bytes) => {
                if !self.out.starts_with(bytes) {
                    return Err(format!("server wrote\n  {}\nnot\n  {}", show(&self.out), show(bytes)));
                }
                self.out.drain(..bytes.len());
            }
            Step::Other(line) if line == "offer-auth" => {
                self.options.extensions.auth = Mechanisms { plain: true, login: true };
                self.session.set_options(Arc::new(self.options.clone()));
            }
            Step::Other(line) if line == "tls" => {
                if !self.session.is_starting_tls() || !self.input.is_empty() {
                    return Err(format!(
                        "no handshake is due, or there is input before it: {}",
                        show(&self.input)
                    ));
                }
                self.session.tls_established();
            }
            Step::Other(line) => match line.split_once(' ') {
                Some(("set", _)) => {}
                Some(("answer", rest)) if rest.starts_with("banner ") => {}
                Some(("answer", rest)) => {
                    let (stage, text) = rest.split_once(' ').unwrap();
                    self.answers.push((stage.parse().unwrap(), reply(text)));
                }
                _ => panic!("unknown step {line}"),
            },
            Step::Wait(_) => panic!("a server session knows no time"),
            Step::Event(_) => unreachable!("events are for the caller"),
        }
        Ok(())
    }

    fn pull(&mut self) -> Result<(), String> {
        let mut at = 0;
        loop {
            let was_closed = self.session.is_closed();
            let (consumed, event) = self.session.next(&self.input[at..]);
            at += consumed;
            let Some(event) = event else { break };
            let is_valid = !matches!(event, Event::Invalid { .. });
            let is_content = matches!(event, Event::Body(_) | Event::Bdat { .. });
            match event {
                Event::Body(bytes) => self.message.extend_from_slice(bytes),
                // what came before belongs to a message that was given up
                Event::Mail { .. } => {
                    self.message.clear();
                    self.trace.push(event_text(&event, &mut self.message));
                }
                event => self.trace.push(event_text(&event, &mut self.message)),
            }
            if !is_content {
                self.answer(is_valid, at)?;
            }
            if !was_closed && self.session.is_closed() {
                self.trace.push("closed".to_owned());
            }
        }
        self.input.drain(..at);
        let kept = self.input.len();
        if kept >= self.max_line && self.trace.last().is_none_or(|event| event != "challenge") {
            Err(format!("{kept} bytes are left in the buffer"))
        } else {
            Ok(())
        }
    }

    fn answer(&mut self, is_valid: bool, at: usize) -> Result<(), String> {
        if self.session.next(&self.input[at..]) != (0, None) {
            return Err("the session went on without an answer".to_owned());
        }
        let stage = self.session.stage();
        match self.answers.iter().position(|(wanted, _)| is_valid && *wanted == stage) {
            Some(at) => self.session.reply(&self.answers.remove(at).1, &mut self.out),
            None => self.session.accept(&mut self.out),
        }
        Ok(())
    }
}

/// `550 5.1.1 no such user`
fn reply(text: &str) -> Reply {
    let (code, text) = text.split_once(' ').unwrap();
    let (enhanced, text) = match text.split_once(' ') {
        Some((word, rest)) if word.parse::<EnhancedStatus>().is_ok() => (word.parse().ok(), rest),
        _ => (None, text),
    };
    Reply { enhanced, ..Reply::new(code.parse().unwrap(), None, text.replace("\\n", "\n")) }
}

fn event_text(event: &Event<'_>, message: &mut Vec<u8>) -> String {
    match event {
        Event::Connect => "connect".to_owned(),
        Event::Hello { name, extended: true } => format!("ehlo {name}"),
        Event::Hello { name, extended: false } => format!("helo {name}"),
        Event::Mail { reverse_path, size, eight_bit, smtp_utf8, require_tls, ret, envelope_id } => {
            let mut text = format!("mail {reverse_path:?}");
            size.iter().for_each(|size| text += &format!(" size={size}"));
            let flags = [(eight_bit, " 8bit"), (smtp_utf8, " utf8"), (require_tls, " require-tls")];
            flags.iter().filter(|(flag, _)| **flag).for_each(|(_, word)| text += word);
            ret.iter().for_each(|ret| text += &format!(" ret={}", ret.as_str()));
            envelope_id.iter().for_each(|id| text += &format!(" envid={}", id.decoded()));
            text
        }
        Event::Rcpt { forward_path, notify, original_recipient } => {
            let mut text = format!("rcpt {forward_path:?}");
            notify.iter().for_each(|notify| text += &format!(" notify={notify}"));
            original_recipient.iter().for_each(|original| {
                text += &format!(" orcpt={};{}", original.address_type(), original.address())
            });
            text
        }
        Event::StartTls => "starttls".to_owned(),
        Event::AuthChallenge => "challenge".to_owned(),
        Event::Auth(credentials) => {
            let hidden = format!("{credentials:?}");
            assert!(!hidden.contains(&*credentials.password) || credentials.password.is_empty());
            let Credentials { mechanism, act_as, user, password } = credentials;
            let act_as = act_as.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            format!("auth {mechanism:?} {user} {password}{act_as}")
        }
        Event::Data => "data".to_owned(),
        Event::Rset => "rset".to_owned(),
        Event::Noop => "noop".to_owned(),
        Event::Vrfy => "vrfy".to_owned(),
        Event::Help => "help".to_owned(),
        Event::Quit => "quit".to_owned(),
        Event::Invalid { stage: None } => "invalid".to_owned(),
        Event::Invalid { stage: Some(stage) } => format!("invalid {stage}"),
        Event::Body(_) => unreachable!("collected by the caller"),
        Event::NextRecipient { index } => format!("next-recipient {index}"),
        Event::Bdat { size, last } => format!("bdat {size}{}", if *last { " last" } else { "" }),
        Event::EndOfChunk { size, too_big } => {
            format!("chunk {}{size}", if *too_big { "too big: " } else { "" })
        }
        Event::EndOfData { bare_newline, too_big } => {
            let content = std::mem::take(message);
            let bare = if *bare_newline { "bare newline: " } else { "" };
            let big = if *too_big { "too big: " } else { "" };
            match content.len() {
                0..200 => format!("message {bare}{big}{}", show(&content)),
                bytes => format!("message {bare}{big}{bytes} bytes"),
            }
        }
    }
}
