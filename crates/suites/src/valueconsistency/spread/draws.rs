//! Seeded draws: of an order for every answer, and of shuffled answers.

use super::{FEW_DRAWS, Groups, LANES, Scratch, Slots, Spread};
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

/// Which answer each slot has in each of a block of draws.
struct Draws {
    /// The slot whose answer stands there; empty where each has its own.
    contents: Vec<[u32; LANES]>,
    /// The order in which each slot's answer is read.
    orders: Vec<[u8; LANES]>,
}

impl Slots {
    /// The mean over draws of the distance of each slot.
    pub(super) fn over_draws(
        &self,
        groups: &Groups,
        seed: u64,
        draws: u64,
        shuffle: bool,
    ) -> Spread {
        let draws = if self.stances == 2 {
            draws
        } else {
            draws.min(FEW_DRAWS)
        };
        let pools = if shuffle {
            self.pools_of(groups)
        } else {
            Vec::new()
        };
        // Draws are summed in blocks of a fixed size, so that no number depends on how threads share them.
        let blocks: Vec<u64> = (0..draws).step_by(LANES).collect();
        let parts: Vec<Spread> = blocks
            .into_par_iter()
            .map(|first| {
                let drawn = self.draw(seed, first, &pools);
                let counted = usize::try_from(draws - first).unwrap_or(LANES).min(LANES);
                self.of_block(groups, &drawn, counted)
            })
            .collect();
        let mut found = Spread::new(self.len());
        for part in parts {
            found.merge(&part);
        }
        let groups = found.groups.iter_mut().flatten();
        for sum in found.sums.iter_mut().chain(&mut found.counts).chain(groups) {
            *sum /= draws as f64;
        }
        found
    }

    /// The slots that stand in groups, by what they may be shuffled with.
    fn pools_of(&self, groups: &Groups) -> Vec<Vec<usize>> {
        let mut used = vec![false; self.len()];
        for slot in groups.iter().flatten() {
            used[*slot] = true;
        }
        let count = self.pools.iter().max().map_or(0, |most| most + 1);
        let mut pools = vec![Vec::new(); count];
        for (slot, pool) in self
            .pools
            .iter()
            .enumerate()
            .filter(|(slot, _)| used[*slot])
        {
            pools[*pool].push(slot);
        }
        pools.retain(|pool| !pool.is_empty());
        pools
    }

    /// A block of draws, each from a stream of random numbers of its own.
    fn draw(&self, seed: u64, first: u64, pools: &[Vec<usize>]) -> Draws {
        let orders = self.orders.len();
        let mut drawn = Draws {
            contents: Vec::new(),
            orders: vec![[0; LANES]; self.len()],
        };
        if !pools.is_empty() {
            let slots = 0..u32::try_from(self.len()).unwrap_or(u32::MAX);
            drawn.contents = slots.map(|slot| [slot; LANES]).collect();
        }
        for (lane, number) in (first..).take(LANES).enumerate() {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(number);
            let mut below = |count: usize| {
                let at = (u64::from(random.next_u32()) * count as u64) >> 32;
                usize::try_from(at).unwrap_or(0)
            };
            if orders > 1 {
                for of_slot in &mut drawn.orders {
                    of_slot[lane] = u8::try_from(below(orders)).unwrap_or(0);
                }
            }
            for pool in pools {
                for at in (1..pool.len()).rev() {
                    let (here, there) = (pool[at], pool[below(at + 1)]);
                    let other = drawn.contents[there][lane];
                    drawn.contents[there][lane] = drawn.contents[here][lane];
                    drawn.contents[here][lane] = other;
                }
            }
        }
        drawn
    }

    /// The distances of the first draws of a block, each added to the slot whose answer it is of.
    fn of_block(&self, groups: &Groups, drawn: &Draws, counted: usize) -> Spread {
        let mut found = Spread::new(self.len());
        let mut scratch = Scratch::default();
        let shuffled = !drawn.contents.is_empty();
        let content = |slot: usize, lane: usize| {
            if shuffled {
                drawn.contents[slot][lane] as usize
            } else {
                slot
            }
        };
        for group in groups {
            let answers = group.iter().map(|slot| {
                std::array::from_fn(|lane| {
                    let content = content(*slot, lane);
                    (content, usize::from(drawn.orders[content][lane]))
                })
            });
            let distances = self.distances(answers, &mut scratch);
            if !shuffled {
                for (slot, distances) in group.iter().zip(distances) {
                    found.sums[*slot] += distances[..counted].iter().sum::<f64>();
                    found.counts[*slot] += counted as f64;
                }
                continue;
            }
            let mut all = [0.0; LANES];
            for distances in distances {
                for (all, distance) in all.iter_mut().zip(distances) {
                    *all += distance;
                }
            }
            for (slot, distances) in group.iter().zip(distances) {
                for lane in 0..counted {
                    let slot = content(*slot, lane);
                    found.sums[slot] += distances[lane];
                    found.counts[slot] += 1.0;
                    found.groups[slot][0] += all[lane];
                    found.groups[slot][1] += group.len() as f64;
                }
            }
        }
        found
    }
}
