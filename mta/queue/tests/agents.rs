//! Agents that are confused, hostile or silent: each hurts what it was given and nothing else.

mod starter;

use delivery::wire::Encoder;
use delivery::{AgentFrame, Content, DeliveryReport};
use smtp::client::{Disposition, Outcome};
use starter::{Agent, MESSAGE, Rig, delivered};
use std::io::Write;
use std::time::Duration;
use supervisor::link::FromStarter;

const NEVER: Duration = Duration::from_secs(3600);

/// Long enough for an honest agent on a busy machine.
const WATCHDOG: Duration = Duration::from_millis(400);

/// What a hostile agent does with its request; `other` is the id of a delivery that another agent has.
type Hostility = fn(agent: &mut Agent, own: u64, other: u64);

/// Writes until the queue manager has had enough.
fn flood(agent: &mut Agent, bytes: &[u8]) {
    while agent.socket.write_all(bytes).is_ok() {}
}

fn frame(kind: u8, payload: impl FnOnce(&mut Encoder<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    payload(&mut Encoder::frame(&mut bytes, kind));
    bytes
}

/// A report whose statuses were changed.
fn changed(id: u64, change: impl FnOnce(&mut Outcome)) -> AgentFrame {
    let AgentFrame::Report(DeliveryReport { mut outcome, remote, times, .. }) = delivered(id) else {
        unreachable!("it is a report")
    };
    change(&mut outcome);
    AgentFrame::Report(DeliveryReport { id, outcome, remote, times })
}

const READY: u8 = 16;

const HOSTILITIES: [(&str, Hostility); 13] = [
    ("nonsense", |agent, _, _| agent.socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap()),
    ("ready twice", |agent, _, _| agent.say(&AgentFrame::Ready)),
    ("another version of the protocol", |agent, _, _| {
        agent.socket.write_all(&frame(READY, |out| out.u16(9))).unwrap();
    }),
    ("answers for another's delivery", |agent, _, other| agent.say(&delivered(other))),
    ("answers for a delivery that there is not", |agent, own, other| agent.say(&delivered(own + other))),
    ("asks for the message of another's delivery", |agent, _, other| {
        agent.say(&AgentFrame::AskContent { id: other });
    }),
    ("asks for the message of no delivery", |agent, own, other| {
        agent.say(&AgentFrame::AskContent { id: own + other });
    }),
    ("asks again and again", |agent, own, _| {
        agent.say(&AgentFrame::AskContent { id: own });
        assert_eq!(agent.content(), Some((own, Some(MESSAGE.into()))));
        agent.say(&AgentFrame::AskContent { id: own });
    }),
    ("one recipient too many", |agent, own, _| {
        agent.say(&changed(own, |outcome| outcome.recipients.push(outcome.recipients[0].clone())));
    }),
    ("a line break for the log", |agent, own, _| {
        agent.say(&changed(own, |outcome| outcome.recipients[0].text = "ok)\nforged line (".to_owned()));
    }),
    ("floods with frames", |agent, _, _| flood(agent, &frame(99, |out| out.u64(0)).repeat(1000))),
    ("floods with one frame without end", |agent, _, _| {
        agent.socket.write_all(&u32::MAX.to_le_bytes()).unwrap();
        flood(agent, &[0; 65_536]);
    }),
    ("leaves in the middle of a frame", |agent, own, _| {
        let mut bytes = Vec::new();
        delivered(own).encode(&mut bytes);
        agent.socket.write_all(&bytes[..bytes.len() - 1]).unwrap();
        agent.socket.shutdown(std::net::Shutdown::Write).unwrap();
    }),
];

/// Two agents that are ready and have a delivery each: a hostile one, an honest one, and their ids.
fn pair(rig: &Rig) -> ((Agent, u64), (Agent, u64)) {
    let ((hostile, own), (honest, others)) = full_pair(rig, 1);
    ((hostile, own[0]), (honest, others[0]))
}

/// As `pair`, with every slot of both in use; the ids of each.
fn full_pair(rig: &Rig, slots: usize) -> ((Agent, Vec<u64>), (Agent, Vec<u64>)) {
    let both = [rig.agent(), rig.agent()].map(|mut agent| {
        agent.say(&AgentFrame::Ready);
        let ids = (0..slots).map(|_| agent.request().expect("there is mail for both").id).collect();
        (agent, ids)
    });
    both.into()
}

#[test]
fn a_hostile_agent_loses_its_deliveries_to_an_honest_one_and_nobody_else_does() {
    // as a process for each connection has it, and as one for many
    for (slots, (name, act)) in [1, 3].into_iter().flat_map(|slots| HOSTILITIES.map(|one| (slots, one))) {
        let rig = Rig::start_wide(2 * slots, (2, slots), NEVER);
        let ((mut hostile, own), (mut honest, others)) = full_pair(&rig, slots);
        act(&mut hostile, own[0], others[0]);
        assert!(hostile.request().is_none(), "{name}: it got another request");
        others.iter().for_each(|id| honest.say(&delivered(*id)));
        for _ in 0..slots {
            let again = honest.request().expect("what the hostile one had").id;
            assert!(!own.contains(&again) && !others.contains(&again), "{name}: a name was used twice");
            honest.say(&delivered(again));
        }
        let leaves = name.starts_with("leaves");
        if leaves {
            rig.tell(&FromStarter::Ended { agent: hostile.number, status: 1, signal: 0 });
        }
        let status =
            rig.eventually(name, |status| status["delivered"] == 2 * slots && status["agents"]["died"] == 1);
        assert_eq!((&status["agents"]["hung"], &status["agents"]["idle"]), (&0.into(), &1.into()), "{name}");
        // asked for before the status was
        let killed: &[_] = if leaves { &[] } else { &[hostile.number] };
        assert_eq!(*rig.killed.lock().unwrap(), killed, "{name}");
        rig.stop();
    }
}

#[test]
fn what_was_said_before_counts_once_though_the_agent_answers_twice_or_dies() {
    for dies in [false, true] {
        let rig = Rig::start(2, 2, NEVER);
        let ((mut hostile, own), (mut honest, other)) = pair(&rig);
        hostile.say(&delivered(own));
        if dies {
            // the starter's word may overtake what is on the agent's socket
            let ended = FromStarter::Ended { agent: hostile.number, status: 0, signal: 11 };
            drop(hostile);
            rig.tell(&ended);
        } else {
            hostile.say(&delivered(own));
            assert!(hostile.request().is_none());
        }
        honest.say(&delivered(other));
        let status = rig.eventually("both", |status| {
            status["delivered"] == 2 && status["agents"]["died"] == 1 && status["active"] == 0
        });
        assert_eq!(status["due"], 0, "nothing is left to be repeated");
        rig.stop();
    }
}

#[test]
fn messages_are_given_again_as_fast_as_they_are_taken() {
    // more than the sockets hold
    let messages: Vec<String> =
        (0..100).map(|number| format!("Subject: {number}\r\n\r\n{}", "a\r\n".repeat(20_000))).collect();
    let rig = Rig::start_with(&messages);
    let mut agent = rig.agent();
    agent.say(&AgentFrame::Ready);
    let requests: Vec<(u64, Vec<u8>)> = messages
        .iter()
        .map(|_| {
            let request = agent.request().expect("there is room for all");
            let Content::Inline(content) = request.content else { panic!("it is small") };
            (request.id, content)
        })
        .collect();
    for (id, _) in &requests {
        agent.say(&AgentFrame::AskContent { id: *id });
    }
    // it goes on with everything else meanwhile
    rig.eventually("all are under way", |status| status["active"] == messages.len());
    // one that ends while its message is on its way is none the worse
    let (last, rest) = requests.split_last().unwrap();
    agent.say(&delivered(last.0));
    rig.eventually("one has ended", |status| status["delivered"] == 1);
    for (id, content) in rest {
        assert_eq!(agent.content(), Some((*id, Some(content.clone()))));
        agent.say(&delivered(*id));
    }
    rig.eventually("all", |status| status["delivered"] == messages.len() && status["agents"]["died"] == 0);
    rig.stop();
}

#[test]
fn a_message_that_is_not_what_it_was_is_said_to_be_unreadable() {
    let rig = Rig::start(1, 1, NEVER);
    let mut agent = rig.agent();
    agent.say(&AgentFrame::Ready);
    let id = agent.request().expect("the message").id;
    rig.spoil_spool();
    agent.say(&AgentFrame::AskContent { id });
    assert_eq!(agent.content(), Some((id, None)));
    agent.say(&changed(id, |outcome| outcome.recipients[0].disposition = Disposition::Deferred));
    rig.eventually("it waits", |status| status["deferred"] == 1 && status["agents"]["died"] == 0);
    rig.stop();
}

#[test]
fn a_silent_agent_is_killed_in_time_and_its_delivery_given_to_another() {
    let rig = Rig::start(2, 2, WATCHDOG);
    let ((mut silent, own), (mut honest, other)) = pair(&rig);
    honest.say(&delivered(other));
    let again = honest.request().expect("what the silent one had");
    assert!(again.id != own);
    honest.say(&delivered(again.id));
    assert!(silent.request().is_none(), "its socket is closed");
    let status = rig.eventually("both", |status| status["delivered"] == 2);
    assert_eq!((&status["agents"]["died"], &status["agents"]["hung"]), (&0.into(), &1.into()));
    assert_eq!(*rig.killed.lock().unwrap(), [silent.number]);
    rig.stop();
}

#[test]
fn an_agent_that_stays_when_it_is_told_to_go_is_killed_and_counted() {
    let rig = Rig::start(2, 2, WATCHDOG);
    let ((mut stays, own), (mut leaves, other)) = pair(&rig);
    stays.say(&delivered(own));
    leaves.say(&delivered(other));
    rig.eventually("both", |status| status["agents"]["idle"] == 2);
    rig.tell(&FromStarter::Reload);
    assert!(stays.request().is_none() && leaves.request().is_none());
    rig.tell(&FromStarter::Ended { agent: leaves.number, status: 0, signal: 0 });
    let status = rig.eventually("one is killed", |status| status["agents"]["hung"] == 1);
    assert_eq!((&status["agents"]["died"], &status["agents"]["idle"]), (&0.into(), &0.into()));
    assert_eq!(*rig.killed.lock().unwrap(), [stays.number]);
    rig.stop();
}

#[test]
fn what_no_agent_survives_is_deferred_and_the_service_is_throttled() {
    let rig = Rig::start(1, 1, NEVER);
    let mut times = Vec::new();
    for _ in 0..2 {
        let mut agent = rig.agent();
        times.push(std::time::Instant::now());
        agent.say(&AgentFrame::Ready);
        agent.request().expect("the message");
        rig.tell(&FromStarter::Ended { agent: agent.number, status: 101, signal: 0 });
        drop(agent);
    }
    // the pause begins when the first death is seen, a moment after it was asked for
    assert!(times[1] - times[0] >= Duration::from_millis(990), "{:?}", times[1] - times[0]);
    let status = rig.eventually("it is deferred", |status| status["deferred"] == 1);
    assert_eq!((&status["agents"]["died"], &status["delivered"]), (&2.into(), &0.into()));
    rig.stop();
}

#[test]
fn a_driver_inside_that_goes_or_is_confused_or_silent_is_replaced_like_an_agent() {
    let rig = Rig::start_within(10, WATCHDOG);
    let begin = || {
        let mut driver = rig.agent();
        driver.say(&AgentFrame::Ready);
        // each finishes one, so that none of their ends throttles the service
        let id = driver.request().expect("there is mail").id;
        driver.say(&delivered(id));
        driver.request().expect("there is more");
        driver
    };
    drop(begin());
    let mut confused = begin();
    confused.say(&AgentFrame::Ready);
    assert!(confused.request().is_none());
    let mut silent = begin();
    assert!(silent.request().is_none(), "its socket is closed");
    let mut last = rig.agent();
    last.say(&AgentFrame::Ready);
    last.request().expect("there is more");
    let status = rig.eventually("a fourth", |status| status["agents"]["spawned"] == 4);
    let agents = &status["agents"];
    assert_eq!((&agents["died"], &agents["hung"], &agents["busy"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!((&status["delivered"], &status["active"]), (&3.into(), &1.into()), "the others' went back");
    assert_eq!(status["pids"]["agents"], serde_json::json!([]), "it is no process of its own");
    assert!(rig.killed.lock().unwrap().is_empty(), "the starter knows nothing of it");
    drop(last);
    rig.stop();
}
