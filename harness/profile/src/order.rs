//! In which order the trials run: interleaved, so that drift of the machine meets every subject alike.

/// One trial by index: block and point and subject, each from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub repeat: u32,
    pub point: usize,
    pub subject: usize,
}

/// Every subject at every point once in each block. The subjects of a point run side by side in time; which of them
/// begins is drawn from the seed and moves on by one with each point and each block.
pub(crate) fn interleave(subjects: usize, points: usize, repeats: u32, seed: u64) -> Vec<Place> {
    let mut circle: Vec<usize> = (0..subjects).collect();
    let mut random = seed;
    for at in (1..subjects).rev() {
        random = mix(random);
        circle.swap(at, (random % (at as u64 + 1)) as usize);
    }
    let mut places = Vec::with_capacity(subjects * points * repeats as usize);
    for repeat in 0..repeats {
        for point in 0..points {
            for step in 0..subjects {
                let subject = circle[(repeat as usize + point + step) % subjects];
                places.push(Place { repeat, point, subject });
            }
        }
    }
    places
}

/// SplitMix64 (Steele, Lea and Flood 2014): one step, and good enough a hash to draw seeds from a seed.
pub(crate) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_subject_always_begins_and_none_is_left_out() {
        for (subjects, points, repeats) in [(1, 1, 1), (2, 2, 4), (2, 3, 2), (3, 3, 6), (5, 4, 10)] {
            let places = interleave(subjects, points, repeats, 7);
            assert_eq!(places.len(), subjects * points * repeats as usize);
            for point in 0..points {
                let mut begun = vec![0; subjects];
                for block in places.chunks(subjects).filter(|block| block[0].point == point) {
                    let mut seen: Vec<usize> = block.iter().map(|place| place.subject).collect();
                    seen.sort_unstable();
                    assert_eq!(seen, (0..subjects).collect::<Vec<_>>(), "each once at point {point}");
                    assert!(block.iter().all(|place| place.repeat == block[0].repeat));
                    begun[block[0].subject] += 1;
                }
                let (least, most) = (begun.iter().min(), begun.iter().max());
                assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{begun:?}");
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(interleave(4, 2, 3, 1), interleave(4, 2, 3, 1));
        assert!((2..20).any(|seed| interleave(4, 2, 3, seed) != interleave(4, 2, 3, 1)));
    }
}
