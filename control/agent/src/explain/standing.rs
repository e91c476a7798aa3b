//! Which backends of a group a request would go to.
//!
//! Owns the telling of what `policy::balance` decides, for all backends at once and without picking one. The tests hold
//! it against the picker itself.

use api::explain::Standing;
use policy::generation::{Address, Group, Health};

/// What is known of a backend beside what its generation says.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// `None`: nothing was heard of it.
    pub health: Option<Health>,
    /// Its name has an address.
    pub resolved: bool,
    /// It is at its cap.
    pub full: bool,
}

/// By backend, in the order of [`Group::endpoints`]. `known` is asked for each by its place there.
pub fn standings(group: &Group, known: impl Fn(usize) -> Known) -> Vec<Standing> {
    let ranks: Vec<Rank> = (0..group.endpoints.len()).map(|ix| rank(group, ix, known(ix))).collect();
    // A backup is for when the others are gone, not for when they are busy.
    let backups = ranks.iter().all(|rank| matches!(rank, Rank::Out | Rank::In { backup: true, .. }));
    let open = |wanted: bool| {
        let is = |rank: &Rank| matches!(rank, Rank::In { backup, unproven, full: false } if *backup == backups && *unproven == wanted);
        ranks.iter().any(is)
    };
    let of_the_unproven = !open(false);
    let standing = |rank: &Rank| match *rank {
        Rank::Out => Standing::Out,
        Rank::In { full: true, .. } => Standing::Full,
        Rank::In { backup, unproven, full: false } if backup == backups && unproven == of_the_unproven => {
            Standing::Asked
        }
        Rank::In { .. } => Standing::Spare,
    };
    ranks.iter().map(standing).collect()
}

enum Rank {
    Out,
    In { backup: bool, unproven: bool, full: bool },
}

fn rank(group: &Group, ix: usize, known: Known) -> Rank {
    let endpoint = &group.endpoints[ix];
    let health = match &group.health {
        Some(_) => known.health.unwrap_or(Health::Unproven),
        None => Health::Up,
    };
    let nowhere = matches!(endpoint.address, Address::Name { .. }) && !known.resolved;
    if endpoint.drain || endpoint.weight == 0 || nowhere || health == Health::Down {
        return Rank::Out;
    }
    Rank::In { backup: endpoint.backup, unproven: health == Health::Unproven, full: known.full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::EndpointSlot;
    use policy::balance::{Ask, Pick, Picker};
    use policy::generation::{Balance, CheckKind, Endpoint, HealthCheck};
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    const BACKENDS: usize = 3;

    /// What a backend can be, all of it in one number.
    const KINDS: usize = 3 * 2 * 2 * 2 * 2;

    fn backend(ix: usize, kind: usize) -> (Endpoint, Known) {
        let health = [Health::Up, Health::Unproven, Health::Down][kind % 3];
        let is = |bit: usize| ((kind / 3) >> bit) & 1 == 1;
        let endpoint = Endpoint {
            group: policy::GroupSlot(0),
            slot: EndpointSlot(ix as u32),
            id: format!("b{ix}").into(),
            // One of them has a name.
            address: match ix {
                0 => Address::Name { host: "a.test".into(), port: 80 },
                _ => Address::Ip(format!("127.0.0.1:{}", 9000 + ix).parse().expect("an address")),
            },
            weight: 1,
            backup: is(0),
            drain: is(1),
            max_connections: None,
        };
        (endpoint, Known { health: Some(health), resolved: is(2), full: is(3) })
    }

    fn group(endpoints: Vec<Endpoint>, checked: bool) -> Group {
        let check = HealthCheck {
            kind: CheckKind::Connect,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
        };
        Group {
            slot: policy::GroupSlot(0),
            id: "main".into(),
            balance: Balance::RoundRobin,
            endpoints: endpoints.into_iter().map(Arc::new).collect(),
            attempts: 1,
            queue: 0,
            queue_wait: Duration::ZERO,
            health: checked.then_some(check),
            http: None,
        }
    }

    /// Whom the picker picks, if it is asked often enough.
    fn picked(group: &Group, known: &[Known]) -> BTreeSet<usize> {
        let mut picker = Picker::new();
        picker.adopt(group);
        for (endpoint, known) in group.endpoints.iter().zip(known) {
            picker.set_health(endpoint.slot, known.health.expect("said"));
            picker.set_resolved(endpoint.slot, known.resolved);
            picker.set_full(endpoint.slot, known.full);
        }
        let mut picked = BTreeSet::new();
        for random in 0..4 * BACKENDS as u64 {
            if let Pick::Endpoint { slot, index } = picker.pick(&Ask { source: random, random, tried: &[] }) {
                picked.insert(index);
                picker.opened(slot);
            }
        }
        picked
    }

    #[test]
    fn those_are_asked_whom_the_picker_picks() {
        for number in 0..KINDS.pow(BACKENDS as u32) {
            for checked in [true, false] {
                let kinds = (0..BACKENDS).map(|ix| number / KINDS.pow(ix as u32) % KINDS);
                let (endpoints, known): (Vec<Endpoint>, Vec<Known>) =
                    kinds.enumerate().map(|(ix, kind)| backend(ix, kind)).unzip();
                let group = group(endpoints, checked);
                let standings = standings(&group, |ix| known[ix]);
                let asked: BTreeSet<usize> = (0..BACKENDS).filter(|ix| standings[*ix] == Standing::Asked).collect();
                assert_eq!(asked, picked(&group, &known), "{group:?} {known:?}");
            }
        }
    }

    #[test]
    fn nobody_is_asked_who_takes_nothing() {
        let (mut endpoint, known) = backend(1, 0);
        endpoint.weight = 0;
        assert_eq!(standings(&group(vec![endpoint], true), |_| known), [Standing::Out]);
        assert_eq!(standings(&group(Vec::new(), true), |_| known), []);
    }
}
