//! What held the throughput down: a rule over CPU shares, and nothing cleverer.

use crate::word::{LimitedBy, Placement};

/// CPU seconds used between the release and the end of the drain; `None` where they are not known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CpuShare {
    /// All roles of the mail transfer agent.
    pub subject_s: Option<f64>,
    pub sink_s: Option<f64>,
    /// 0 where the load generator had ended before the release.
    pub load_s: Option<f64>,
    /// The harness itself; `None` is taken as nothing.
    pub harness_s: Option<f64>,
}

/// The first that holds:
///
/// 1. something is missing: `unclear`;
/// 2. pinned, and sink, load generator and harness together used 90 % of their core: `sink` or `load`, whichever used
///    more;
/// 3. shared, and sink or load generator alone used 90 % of a core (each runs on one thread): that one;
/// 4. pinned, and the subject used 90 % of its core: `subject`;
/// 5. shared, and all together used 90 % of all cores: `subject` if more than half of it was the subject's, else
///    `unclear`;
/// 6. `none`: no processor was full, so delays and the concurrency set the pace, or a disk.
pub fn limited_by(elapsed_s: f64, cpu: &CpuShare, placement: Placement, cores: u32) -> LimitedBy {
    let (Some(subject_s), Some(sink_s), Some(load_s)) = (cpu.subject_s, cpu.sink_s, cpu.load_s) else {
        return LimitedBy::Unclear;
    };
    if elapsed_s.is_nan() || elapsed_s <= 0.0 || cores == 0 {
        return LimitedBy::Unclear;
    }
    let full_s = FULL * elapsed_s;
    let rig_s = sink_s + load_s + cpu.harness_s.unwrap_or(0.0);
    let busier = if load_s > sink_s { LimitedBy::Load } else { LimitedBy::Sink };
    match placement {
        Placement::Pinned if rig_s >= full_s => busier,
        Placement::Pinned if subject_s >= full_s => LimitedBy::Subject,
        Placement::Shared if sink_s.max(load_s) >= full_s => busier,
        Placement::Shared if subject_s + rig_s >= full_s * f64::from(cores) => {
            if subject_s > rig_s {
                LimitedBy::Subject
            } else {
                LimitedBy::Unclear
            }
        }
        Placement::Pinned | Placement::Shared => LimitedBy::None,
    }
}

/// Of a core: above this it has no room left that a scheduler could give.
const FULL: f64 = 0.9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_who_was_full() {
        use LimitedBy::*;
        use Placement::*;
        let cases = [
            (Pinned, Some(1.9), Some(0.5), Some(0.0), Subject),
            (Pinned, Some(1.9), Some(1.85), Some(0.0), Sink),
            (Pinned, Some(0.5), Some(0.4), Some(1.5), Load),
            (Pinned, Some(0.5), Some(0.4), Some(0.1), None),
            (Pinned, Some(0.5), Option::None, Some(0.1), Unclear),
            (Shared, Some(2.5), Some(1.2), Some(0.1), Subject),
            (Shared, Some(1.5), Some(1.2), Some(1.1), Unclear),
            (Shared, Some(0.5), Some(1.9), Some(0.0), Sink),
            (Shared, Some(1.9), Some(0.5), Some(0.0), None),
        ];
        for (placement, subject_s, sink_s, load_s, expected) in cases {
            let cpu = CpuShare { subject_s, sink_s, load_s, harness_s: Option::None };
            assert_eq!(limited_by(2.0, &cpu, placement, 2), expected, "{cpu:?} {placement:?}");
        }
        assert_eq!(limited_by(0.0, &CpuShare::default(), Pinned, 2), Unclear);
    }
}
