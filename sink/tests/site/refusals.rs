//! Refusals at every stage, and a mix of them that a seed repeats.

use crate::peer::Peer;
use crate::rig::{Rig, config};
use std::collections::BTreeMap;

#[test]
fn the_mix_repeats_with_its_seed() {
    let run = |seed: u64| {
        let rules = ["rcpt=450@20", "rcpt=550@20", "dot=451@30"];
        let rig = Rig::start(config(seed, &[], &rules));
        let mut codes = Vec::new();
        for _ in 0..5 {
            let mut peer = Peer::greeted(rig.address);
            for _ in 0..8 {
                peer.play("C: MAIL FROM:<a@client.test>\nS: 250");
                peer.send("RCPT TO:<b@sink.test>\r\n".repeat(5));
                let recipients: Vec<u16> = (0..5).map(|_| peer.code()).collect();
                let any = recipients.contains(&250);
                codes.extend(recipients);
                if any {
                    peer.play("C: DATA\nS: 354");
                    peer.send("x\r\n.\r\n");
                    codes.push(peer.code());
                } else {
                    peer.play("C: RSET\nS: 250");
                }
            }
        }
        let account = rig.stop();
        let mut refused: BTreeMap<u16, u64> = BTreeMap::new();
        codes.iter().filter(|&&code| code >= 400).for_each(|&code| *refused.entry(code).or_default() += 1);
        assert_eq!(account.totals.refused, refused);
        assert_eq!(refused.keys().copied().collect::<Vec<_>>(), [450, 451, 550]);
        codes
    };
    let codes = run(11);
    assert_eq!(codes, run(11));
    assert_ne!(codes, run(12));
    let share = codes.iter().filter(|&&code| code == 450).count() as f64 / 200.0;
    assert!((0.1..0.3).contains(&share), "{share}");
}

#[test]
fn a_refusal_is_said_at_its_stage_and_the_session_goes_on() {
    let check = |rule: &str, dialogue: &str, messages: u64| {
        let rig = Rig::new(&[], &[rule]);
        Peer::connect(rig.address).play(dialogue);
        assert_eq!(rig.stop().totals.messages, messages, "{rule}");
    };
    check("banner=554", "S: 554 Refused by policy\nC: EHLO client.test\nS: 503\nC: QUIT\nS: 221\nS:", 0);
    check(
        "ehlo=451",
        "S: 220\nC: EHLO client.test\nS: 451 Local\nC: HELO client.test\nS: 451\nC: QUIT\nS: 221",
        0,
    );
    check(
        "mail=450",
        "S: 220\nC: EHLO client.test\nS: 250\nC: MAIL FROM:<>\nS: 450 4.7.1\nC: RCPT TO:<b@sink.test>\nS: 503",
        0,
    );
    let to_rcpt = "S: 220\nC: EHLO client.test\nS: 250\nC: MAIL FROM:<>\nS: 250\nC: RCPT TO:<b@sink.test>\n";
    check("rcpt=550", &format!("{to_rcpt}S: 550 5.1.1 No such user\nC: DATA\nS: 554\nC: RSET\nS: 250"), 0);
    check("rcpt=421", &format!("{to_rcpt}C: DATA\nS: 421 4.3.2\nS:"), 0);
    check("data=451", &format!("{to_rcpt}S: 250\nC: DATA\nS: 451 4.3.0\nC: NOOP\nS: 250"), 0);
    let again = "C: MAIL FROM:<>\nC: RCPT TO:<b@sink.test>\nC: DATA\nS: 250\nS: 250\nS: 354";
    check(
        "dot=554",
        &format!("{to_rcpt}S: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 554 5.7.1\n{again}\nC: .\nS: 554"),
        0,
    );
    check(
        "dot=451@0.0001",
        &format!("{to_rcpt}S: 250\nC: DATA\nS: 354\nC: x\nC: .\nS: 250 2.0.0\n{again}\nC: .\nS: 250"),
        2,
    );
    check("quit=451", "S: 220\nC: QUIT\nS: 451\nS:", 0);
}
