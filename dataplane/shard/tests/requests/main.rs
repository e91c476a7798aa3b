//! Requests through whole shards, against clients and origins that share no parser with them; one theme a file.

#[path = "../rig/mod.rs"]
mod rig;

mod answers;
mod exchanges;
mod failures;
mod hosts;
mod partings;
mod reload;
mod upstream;

use harness::http::{Client, Origin};
use harness::net::Target;
use link::listen::BindAddress;
use policy::http::{ActionSpec, RuleSpec, When};
use rig::Rig;
use rig::site::{Http, Site, group_slot, rule};

/// One shard with a pool of requests to these origins, all in one group, without rules.
fn rig_of(origins: &[&Origin]) -> Rig {
    Rig::new(site_of(origins, Http::new()))
}

fn site_of(origins: &[&Origin], http: Http) -> Site {
    let addresses: Vec<_> = origins.iter().map(|origin| origin.address()).collect();
    Site::of(&addresses).edited(|pool| pool.http = Some(http))
}

fn client_of(rig: &Rig) -> Client {
    Client::connect(&target_of(rig)).unwrap()
}

fn target_of(rig: &Rig) -> Target {
    let BindAddress::Ip(address) = rig.address(0) else { unreachable!("the rig listens on 127.0.0.1") };
    Target::Ip(address)
}

/// Everything to the group that pools of tests have.
fn to_group() -> RuleSpec {
    rule("r", When::always(), ActionSpec::Group(group_slot("main")))
}
