//! Which backend a connection gets: health, tiers, drain and weights as they change.

use crate::rig::Rig;
use crate::rig::peers::Backend;
use crate::rig::site::{Pool, Site};
use policy::close::CloseReason;
use policy::generation::Health;

/// Two backends, edited.
fn rig_of(edit: impl FnOnce(&mut Pool)) -> (Rig, [Backend; 2]) {
    let backends = [Backend::new(), Backend::new()];
    let addresses: Vec<_> = backends.iter().map(Backend::address).collect();
    (Rig::new(Site::of(&addresses).edited(edit)), backends)
}

/// The next three connections go to this backend and no other.
#[track_caller]
fn all_go_to(rig: &mut Rig, backends: &[Backend; 2], chosen: usize) {
    for _ in 0..3 {
        let client = rig.connect(0);
        let served = backends[chosen].accept();
        drop((client, served));
        assert_eq!(rig.closed(CloseReason::Finished).endpoint.unwrap().0, chosen as u32);
    }
    backends[1 - chosen].has_nobody();
}

#[test]
fn health_decides_and_unproven_is_better_than_nobody() {
    let (mut rig, backends) = rig_of(|pool| pool.checked = true);
    rig.endpoint_is(1, Health::Up, &[]);
    all_go_to(&mut rig, &backends, 1);
    rig.endpoint_is(1, Health::Down, &[]);
    all_go_to(&mut rig, &backends, 0);
    rig.endpoint_is(0, Health::Down, &[]);
    rig.connect(0).hear_end();
    rig.closed(CloseReason::NoBackend);
    rig.endpoint_is(1, Health::Up, &[]);
    all_go_to(&mut rig, &backends, 1);
    rig.stop();
}

#[test]
fn a_backup_serves_while_nobody_else_can() {
    let (mut rig, backends) = rig_of(|pool| {
        pool.checked = true;
        pool.backend(1).backup = true;
    });
    rig.endpoint_is(0, Health::Up, &[]);
    rig.endpoint_is(1, Health::Up, &[]);
    all_go_to(&mut rig, &backends, 0);
    rig.endpoint_is(0, Health::Down, &[]);
    all_go_to(&mut rig, &backends, 1);
    rig.endpoint_is(0, Health::Up, &[]);
    all_go_to(&mut rig, &backends, 0);
    rig.stop();
}

#[test]
fn drain_weight_and_backup_change_live() {
    let (mut rig, backends) = rig_of(|pool| pool.backend(0).drain = true);
    all_go_to(&mut rig, &backends, 1);
    rig.apply(|site| {
        site.pool().backend(0).drain = false;
        site.pool().backend(1).weight = 0;
    });
    all_go_to(&mut rig, &backends, 0);
    rig.apply(|site| {
        site.pool().backend(0).backup = true;
        site.pool().backend(1).weight = 1;
    });
    all_go_to(&mut rig, &backends, 1);
    rig.stop();
}

/// Health is the endpoint's and not the generation's.
#[test]
fn health_outlives_a_generation() {
    let (mut rig, backends) = rig_of(|pool| pool.checked = true);
    rig.endpoint_is(0, Health::Down, &[]);
    rig.endpoint_is(1, Health::Up, &[]);
    rig.apply(|site| site.pool().queue = 5);
    all_go_to(&mut rig, &backends, 1);
    rig.stop();
}
