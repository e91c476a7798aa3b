//! A plain list, asked by scanning it, beside the picker under random changes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct Backend {
    weight: u32,
    backup: bool,
    drain: bool,
    named: bool,
    health: Health,
    resolved: bool,
    full: bool,
}

#[derive(Default)]
struct Model {
    backends: BTreeMap<u32, Backend>,
    open: BTreeMap<u32, u32>,
    checked: bool,
}

impl Model {
    fn tier(&self, slot: u32) -> Option<usize> {
        let backend = &self.backends[&slot];
        let out = backend.weight == 0
            || backend.drain
            || backend.named && !backend.resolved
            || self.checked && backend.health == Health::Down;
        let unproven = self.checked && backend.health == Health::Unproven;
        (!out).then_some(2 * usize::from(backend.backup) + usize::from(unproven))
    }

    /// `Err`: the answer. `Ok`: one of these is picked.
    fn choices(&self, tried: &[EndpointSlot]) -> Result<Vec<u32>, Pick> {
        let untried = |slot: &&u32| !tried.contains(&EndpointSlot(**slot));
        let tiers = self.backends.keys().filter(untried).filter_map(|slot| self.tier(*slot));
        let first = tiers.min().ok_or(Pick::Nobody)?;
        let all = || self.backends.keys().filter(untried).copied();
        let open = |tier: usize| -> Vec<u32> {
            all().filter(|slot| self.tier(*slot) == Some(tier) && !self.backends[slot].full).collect()
        };
        // Of the primaries, or else of the backups, those that are up come first.
        let first = first / 2 * 2;
        let choices = [open(first), open(first + 1)];
        choices.into_iter().find(|open| !open.is_empty()).ok_or(Pick::Busy)
    }

    fn busier(&self, a: u32, b: u32) -> bool {
        let open = |slot| u64::from(self.open.get(&slot).copied().unwrap_or(0));
        open(a) * u64::from(self.backends[&b].weight) > open(b) * u64::from(self.backends[&a].weight)
    }

    fn group(&self, balance: usize) -> Group {
        let endpoint = |(slot, backend): (&u32, &Backend)| {
            let address = match backend.named {
                true => Address::Name { host: "a".into(), port: *slot as u16 },
                false => endpoint(*slot, 0).address,
            };
            let Backend { weight, backup, drain, .. } = *backend;
            Endpoint { address, backup, drain, ..endpoint(*slot, weight) }
        };
        let balance = every_balance().into_iter().nth(balance).expect("there are five");
        let group = group_of(balance, self.backends.iter().map(endpoint).collect());
        let group = if self.checked { checked(group) } else { group };
        small_table(group)
    }
}

/// As `with_table`, but quick enough for thousands of groups.
fn small_table(mut group: Group) -> Group {
    if let Balance::SourceHash(table) = &mut group.balance {
        let open = (0..group.endpoints.len() as u32).filter(|index| {
            let endpoint = &group.endpoints[*index as usize];
            endpoint.weight > 0 && !endpoint.backup
        });
        let entries: Vec<u32> = open.collect();
        *table = entries.iter().copied().cycle().take(if entries.is_empty() { 0 } else { 101 }).collect();
    }
    group
}

#[derive(Clone, Debug)]
enum Step {
    Put { slot: u32, backend: Backend },
    Remove { slot: u32 },
    Checked(bool),
    Balance(usize),
    Health { slot: u32, health: Health },
    Resolved { slot: u32, resolved: bool },
    Full { slot: u32, full: bool },
    Closed { slot: u32 },
    Pick { n: u64, tried: Vec<u32>, open: bool },
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Up), Just(Health::Up), Just(Health::Unproven), Just(Health::Down)]
}

fn step(slots: u32) -> impl Strategy<Value = Step> {
    let weight = prop_oneof![Just(0), 1..=4u32, 0..=Endpoint::WEIGHT_MAX];
    let often = proptest::bool::weighted(0.2);
    let backend = (weight, often, often, often, health(), any::<bool>(), often);
    let slot = 0..slots;
    prop_oneof![
        4 => (slot.clone(), backend).prop_map(|(slot, (weight, backup, drain, named, ..))| {
            let (health, resolved, full) = (Health::Unproven, false, false);
            Step::Put {
                slot,
                backend: Backend { weight, backup, drain, named, health, resolved, full },
            }
        }),
        1 => slot.clone().prop_map(|slot| Step::Remove { slot }),
        1 => any::<bool>().prop_map(Step::Checked),
        1 => (0..5usize).prop_map(Step::Balance),
        4 => (slot.clone(), health()).prop_map(|(slot, health)| Step::Health { slot, health }),
        2 => (slot.clone(), any::<bool>())
            .prop_map(|(slot, resolved)| Step::Resolved { slot, resolved }),
        2 => (slot.clone(), often).prop_map(|(slot, full)| Step::Full { slot, full }),
        4 => slot.clone().prop_map(|slot| Step::Closed { slot }),
        12 => (any::<u64>(), proptest::collection::vec(slot, 0..4), any::<bool>())
            .prop_map(|(n, tried, open)| Step::Pick { n, tried, open }),
    ]
}

/// Endpoints that are equal are the same `Arc`, as the compiler has it; every other adoption relies on it.
fn readopt(picker: &mut Picker, adopted: &mut Group, mut new: Group, turn: usize) {
    for endpoint in &mut new.endpoints {
        let same = adopted.endpoints.iter().find(|known| *known == endpoint);
        same.into_iter().for_each(|same| *endpoint = same.clone());
    }
    match turn % 2 {
        0 => picker.adopt(&new),
        _ => picker.adopt_change(adopted, &new),
    }
    *adopted = new;
}

/// Runs the steps on a picker and on the model side by side.
fn check(slots: u32, mut balance: usize, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut adopted = model.group(balance);
    let mut picker = picker(&adopted);
    for (at, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put { slot, mut backend } => {
                if let Some(before) = model.backends.get(&slot) {
                    backend.health = before.health;
                    backend.resolved = before.resolved;
                    backend.full = before.full;
                }
                model.backends.insert(slot, backend);
                readopt(&mut picker, &mut adopted, model.group(balance), at);
            }
            Step::Remove { slot } => {
                model.backends.remove(&slot);
                readopt(&mut picker, &mut adopted, model.group(balance), at);
            }
            Step::Checked(checked) => {
                model.checked = checked;
                readopt(&mut picker, &mut adopted, model.group(balance), at);
            }
            Step::Balance(new) => {
                balance = new;
                readopt(&mut picker, &mut adopted, model.group(balance), at);
            }
            Step::Health { slot, health } => {
                picker.set_health(EndpointSlot(slot), health);
                model.backends.get_mut(&slot).into_iter().for_each(|b| b.health = health);
            }
            Step::Resolved { slot, resolved } => {
                picker.set_resolved(EndpointSlot(slot), resolved);
                model.backends.get_mut(&slot).into_iter().for_each(|b| b.resolved = resolved);
            }
            Step::Full { slot, full } => {
                picker.set_full(EndpointSlot(slot), full);
                model.backends.get_mut(&slot).into_iter().for_each(|b| b.full = full);
            }
            Step::Closed { slot } => {
                picker.closed(EndpointSlot(slot));
                let open = model.open.entry(slot).or_default();
                *open = open.saturating_sub(1);
            }
            Step::Pick { n, tried, open } => {
                let tried: Vec<EndpointSlot> = tried.into_iter().map(EndpointSlot).collect();
                let answer = picker.pick(&Ask { tried: &tried, ..ask(n) });
                let choices = match (model.choices(&tried), answer) {
                    (Err(expected), answer) => {
                        prop_assert_eq!(answer, expected);
                        continue;
                    }
                    (Ok(choices), _) => choices,
                };
                let slot = slot_of(answer);
                prop_assert!(choices.contains(&slot), "step {at}: {slot} of {choices:?}");
                let busier_than = |other: &&u32| model.busier(slot, **other);
                match balance {
                    1 => prop_assert_eq!(choices.iter().find(busier_than), None),
                    // Whoever is busier than all others loses against whomever it is drawn with.
                    2 => prop_assert!(
                        choices.len() == 1 || choices.iter().filter(busier_than).count() < choices.len() - 1
                    ),
                    _ => {}
                }
                if open {
                    picker.opened(EndpointSlot(slot));
                    *model.open.entry(slot).or_default() += 1;
                }
            }
        }
        for slot in 0..slots {
            let open = model.open.get(&slot).copied().unwrap_or(0);
            prop_assert_eq!(picker.in_flight(EndpointSlot(slot)), open);
        }
        picker.check_invariants();
    }
    Ok(())
}

proptest! {
    #[test]
    fn picks_are_what_a_scan_allows(
        balance in 0..4usize,
        steps in proptest::collection::vec(step(12), 1..120),
    ) {
        check(12, balance, steps)?;
    }
}
