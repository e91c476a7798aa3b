//! A plan says before what an apply does after.

use api::{Class, PlannedChange, Reach};
use e2e::Pool;
use harness::appliance::Appliance;
use harness::backend::Backend;
use harness::client::Tunnel;
use harness::net::Target;
use harness::pattern::Dice;

/// A change without what is counted at a point in time.
fn timeless(change: &PlannedChange) -> PlannedChange {
    PlannedChange { touched_connections: None, touched_tunnels: None, ..change.clone() }
}

/// Documents at random: each plan is what the apply of the same text then reports, and changes nothing itself.
#[test]
fn an_apply_does_what_its_plan_said() {
    let backends: Vec<Backend> = (0..4).map(|_| Backend::echo()).collect();
    let fronts: Vec<Target> = (0..4).map(|_| Target::fresh()).collect();
    let mut dice = Dice::new(20);
    let mut draw = || {
        let mut text = String::new();
        for (number, name) in ["one", "two"].iter().enumerate() {
            let mut pool = Pool::new(name).listen(&fronts[number]);
            if dice.below(2) == 0 {
                pool = pool.listen(&fronts[number + 2]);
            }
            for backend in &backends[..dice.between(1, 4)] {
                let id = format!("b{}", backend.address().port());
                pool = pool.backend_with(&id, backend.target(), &format!("weight = {}", dice.between(1, 3)));
            }
            let balance = ["round-robin", "least-connections", "random-two", "source-hash"][dice.below(4)];
            pool = pool
                .keys(".group.main", &format!("balance = {balance:?}"))
                .keys(".timeouts", &format!("idle = \"{}m\"", dice.between(1, 3)));
            text += &pool.to_string();
        }
        text
    };
    let appliance = Appliance::start(&draw());
    let mut tunnel = Tunnel::open(&fronts[0]).expect("it opens");
    for round in 0..40 {
        let text = draw();
        // An address that the change before has left goes when it goes.
        let is_left = |listener: &api::status::ListenerStatus| listener.state == api::status::ListenerState::Leaving;
        let before = appliance.wait_status("nothing is leaving", |status| {
            !status.pools.iter().flat_map(|pool| &pool.listeners).any(is_left)
        });
        let plan = appliance.plan(&text).expect("the document is right");
        assert_eq!(
            appliance.status(),
            api::Status { uptime_seconds: appliance.status().uptime_seconds, ..before },
            "a plan changed something"
        );
        let receipt = appliance.try_apply(&text).expect("the document is right");
        let done = receipt.plan.expect("a job has a plan");
        let changes = |plan: &api::Plan| plan.changes.iter().map(timeless).collect::<Vec<_>>();
        assert_eq!(changes(&plan), changes(&done), "round {round}");
        assert_eq!((&plan.pools, &plan.listeners, plan.unchanged), (&done.pools, &done.listeners, done.unchanged));
        assert_eq!(tunnel.ping(10), Ok(()));
        let (one, two) = (&appliance.status().pools[0], &appliance.status().pools[1]);
        for pool in [one, two] {
            assert_eq!(pool.generation == receipt.job, plan.pools.contains(&pool.pool), "round {round}: {plan:?}");
        }
    }
}

/// Every change says its class, its reach and why, and what it will touch.
#[test]
fn each_kind_of_change_has_its_class_and_reach() {
    let (a, b, front, more) = (Backend::echo(), Backend::echo(), Target::fresh(), Target::fresh());
    let base = || Pool::new("db").listen(&front).backend("a", a.target());
    let appliance = Appliance::start(&base().to_string());
    let _tunnels: Vec<Tunnel> = (0..5).map(|_| Tunnel::open(&front).expect("it opens")).collect();
    let cases = [
        (base().backend("b", b.target()).to_string(), "backend", Class::Soft, Reach::NextConnection),
        (base().keys(".timeouts", "idle = \"9m\"").to_string(), "timeouts.idle", Class::Soft, Reach::NextTimerTick),
        (
            base().keys(".timeouts", "connect = \"9s\"").to_string(),
            "timeouts.connect",
            Class::Soft,
            Reach::NextConnection,
        ),
        (
            base().keys(".group.main", "balance = \"random-two\"").to_string(),
            "balance",
            Class::Soft,
            Reach::NextConnection,
        ),
        (
            base().keys(".limits", "max_connections = 9").to_string(),
            "max_connections",
            Class::Soft,
            Reach::NextConnection,
        ),
        (base().listen(&more).to_string(), "listen", Class::Soft, Reach::Now),
        (base().keys(".create", "memory = \"32MiB\"").to_string(), "memory", Class::Hard, Reach::Restart),
    ];
    for (text, path, class, reach) in cases {
        let plan = appliance.plan(&text).expect("the document is right");
        let change = plan
            .changes
            .iter()
            .find(|change| change.path.contains(path))
            .unwrap_or_else(|| panic!("no change of {path}: {plan:?}"));
        assert_eq!((change.class, change.reach), (class, reach), "{change:?}");
        assert!(
            !change.reason_code.is_empty() && change.reason.len() > 20 && !change.category.is_empty(),
            "{change:?}"
        );
        assert_eq!(change.pool.as_deref(), Some("db"));
        assert_eq!(plan.restart_reasons.is_empty(), class == Class::Soft, "{plan:?}");
    }
    let other = Pool::new("db").listen(&front).backend("b", b.target()).to_string();
    let jump = appliance.plan(&other).expect("the document is right");
    assert!(
        jump.changes.iter().any(|change| change.semantic_jump),
        "all targets are others, and nobody is warned: {jump:?}"
    );
    assert!(jump.changes.iter().any(|change| change.touched_connections == Some(5)), "{jump:?}");
}
