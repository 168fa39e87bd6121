//! A mix of refusals that a seed repeats.

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
