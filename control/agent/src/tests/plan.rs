//! A plan says what the apply of the same then does, whether that is done, changes nothing or is refused.

use super::*;
use api::order::{PlanOf, Transaction};
use api::{Edit, Plan, PlannedChange, Problem};
use serde_json::json;

const SEED: u64 = 20_261_122;
const ROUNDS: usize = 300;

/// splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Two pools whose names, backends, groups and rules orders hit and miss.
struct Site {
    addresses: [String; 4],
}

impl Site {
    fn pools(&self, dice: &mut Dice) -> String {
        let [tcp, http, ..] = &self.addresses;
        let mut text = db(std::slice::from_ref(tcp), &[("a", 9001, ""), ("b", 9002, "weight = 3")]);
        text += &format!("[pool.web.create]\nservice = \"http\"\nlisten = [{http:?}]\n");
        for (group, port) in [("one", 9101), ("two", 9102)] {
            text += &format!("[[pool.web.group.{group}.backend]]\nid = \"x\"\naddress = \"127.0.0.1:{port}\"\n");
        }
        for rule in 0..1 + dice.below(3) {
            let group = dice.one_of(&["one", "two", "two"]);
            text += &format!("[[pool.web.rule]]\nid = \"r{rule}\"\npath_prefix = \"/{rule}\"\ngroup = {group:?}\n");
        }
        text += "[[pool.web.rule]]\nid = \"blocked\"\nsource = \"blocked\"\ndeny = 403\n";
        text += "[list.blocked]\nentries = [\"192.0.2.1\"]\n";
        // Some documents fail their own test, and orders fail those of others.
        let group = dice.one_of(&["one", "two", "two"]);
        text + &format!("[[test]]\nrequest = \"GET http://{http}/0/\"\nexpect = {{ group = {group:?} }}\n")
    }

    fn order(&self, dice: &mut Dice) -> Edit {
        let pool = dice.one_of(&["db", "db", "web", "web", "web", "none"]);
        let group = if pool == "db" { "main" } else { dice.one_of(&["one", "two"]) };
        let backend = dice.one_of(&["a", "b", "x", "y"]);
        let rule = dice.one_of(&["r0", "r1", "r2", "new"]);
        let entry = dice.one_of(&["192.0.2.1", "192.0.2.9", "198.51.100.0/24", "no address"]);
        let address = &self.addresses[dice.below(4)];
        let order = match dice.below(16) {
            0 => {
                json!({"order": "backend.set", "pool": pool, "group": group, "backend": backend, "weight": dice.below(4)})
            }
            1 => json!({"order": "backend.remove", "pool": pool, "group": group, "backend": backend}),
            2 => {
                let address = format!("127.0.0.1:{}", 9001 + dice.below(4));
                json!({"order": "backend.add", "pool": pool, "group": group, "backend": backend, "address": address})
            }
            3 => json!({"order": "rule.remove", "pool": pool, "rule": rule}),
            4 => json!({"order": "rule.move", "pool": pool, "rule": rule, "place": dice.one_of(&["first", "last"])}),
            5 => {
                let set = json!({"path_prefix": dice.one_of(&["/0", "/1", "/", "no path"]), "group": group});
                json!({"order": "rule.add", "pool": pool, "rule": rule, "place": dice.one_of(&["first", "last"]), "set": set})
            }
            6 => json!({"order": "rule.set", "pool": pool, "rule": rule, "set": {"group": group}}),
            7 => json!({"order": "list.add", "list": "blocked", "entry": entry}),
            8 => json!({"order": "list.remove", "list": "blocked", "entry": entry}),
            9 => json!({"order": "group.remove", "pool": pool, "group": group}),
            10 => json!({"order": "group.add", "pool": pool, "group": group, "set": {}}),
            11 => json!({"order": "listen.add", "pool": pool, "address": address}),
            12 => json!({"order": "listen.remove", "pool": pool, "address": address}),
            13 => {
                json!({"order": "pool.set", "pool": pool, "set": {"timeouts": {"idle": format!("{}s", dice.below(3))}}})
            }
            14 => json!({"order": "pool.set", "pool": pool, "set": {"create": {"memory": "3MiB"}}}),
            _ => {
                let size = dice.one_of(&["16KiB", "8KiB", "no size"]);
                json!({"order": "patch", "merge": {"pool": {"web": {"http": {"head_max": size}}}}})
            }
        };
        match api::Request::decode(order.to_string().as_bytes())
            .unwrap_or_else(|wrong| panic!("{order}: {wrong:?}"))
            .order
        {
            Order::Edit(edit) => edit,
            Order::BackendAdd(add) => Edit::BackendAdd(add),
            Order::BackendRemove(remove) => Edit::BackendRemove(remove),
            Order::BackendSet(set) => Edit::BackendSet(set),
            other => panic!("{other:?}"),
        }
    }
}

/// Without what is counted at a point in time.
fn timeless(plan: &Plan) -> Plan {
    let still = |change: &PlannedChange| PlannedChange {
        touched_connections: None,
        touched_tunnels: None,
        touched_requests: None,
        ..change.clone()
    };
    let mut plan = plan.clone();
    plan.changes = plan.changes.iter().map(still).collect();
    plan
}

/// Why it was refused, by whoever it was.
fn told(failure: &Failure) -> (api::ErrorCode, String, Vec<Problem>, usize) {
    (failure.code, failure.message.clone(), failure.problems.clone(), failure.restart_reasons.len())
}

#[test]
fn what_a_plan_says_happens() {
    let dice = &mut Dice(SEED);
    let site = Site { addresses: std::array::from_fn(|_| free_address()) };
    let first = loop {
        // Until one passes its own test.
        let pools = site.pools(dice);
        if pools.contains("path_prefix = \"/0\"\ngroup = \"two\"") && pools.contains("expect = { group = \"two\" }") {
            break pools;
        }
    };
    let rig = Rig::new(&first);
    let [mut applied, mut unchanged, mut refused, mut restart] = [0; 4];
    for round in 0..ROUNDS {
        let (planned, done) = if dice.below(5) == 0 {
            let document = rig.document("", &site.pools(dice));
            let plan = PlanOf { document: document.clone(), ..PlanOf::default() };
            (rig.call(Order::Plan(plan)), rig.change(Order::Apply(Apply { document, ..Apply::default() })))
        } else {
            let orders: Vec<Edit> = (0..1 + dice.below(3)).map(|_| site.order(dice)).collect();
            let transaction = |dry_run| Transaction { orders: orders.clone(), if_generation: None, dry_run };
            let planned = rig.call(Order::Transaction(transaction(true)));
            (planned, rig.change(Order::Transaction(transaction(false))))
        };
        let planned = planned.map(|body| match body {
            Body::Plan(plan) => plan,
            other => panic!("round {round}: {other:?}"),
        });
        match (planned, done) {
            (Ok(plan), Ok(receipt)) => {
                *(if plan.unchanged { &mut unchanged } else { &mut applied }) += 1;
                let done = receipt.plan.expect("a job that was done has a plan");
                assert_eq!(timeless(&plan), timeless(&done), "round {round}");
            }
            (Err(planned), Err(done)) => {
                refused += 1;
                assert_eq!(told(&planned), told(&done), "round {round}");
            }
            (Ok(plan), Err(failure)) => {
                restart += 1;
                assert_eq!(failure.code, api::ErrorCode::RestartRequired, "round {round}: {failure:?} {plan:?}");
                assert_eq!(plan.restart_reasons, failure.restart_reasons, "round {round}");
            }
            (Err(planned), Ok(done)) => panic!("round {round}: {planned:?} was planned, and {done:?} done"),
        }
    }
    // Each way of the match was gone.
    for (what, count) in [("applied", applied), ("unchanged", unchanged), ("refused", refused), ("restart", restart)] {
        assert!(count >= 5, "{what}: {count} of {ROUNDS}");
    }
}

/// Each rehearsal has given out slots, and none of them is given out.
#[test]
fn a_plan_leaves_nothing_behind() {
    let listen = [free_address()];
    let rig = Rig::new(&db(&listen, &[("a", 9001, "")]));
    let before = rig.slots_in_use();
    let more = format!(
        "{}{}",
        db(&listen, &[("a", 9001, ""), ("b", 9002, "")]),
        pool("more", &[free_address()], &[("c", 9003, "")])
    );
    for _ in 0..3 {
        let document = rig.document("", &more);
        let plan = PlanOf { document, diff: true, ..PlanOf::default() };
        let Ok(Body::Plan(plan)) = rig.call(Order::Plan(plan)) else { panic!("no plan") };
        assert!(plan.diff.is_some_and(|diff| diff.contains("+[pool.more")));
    }
    assert_eq!(rig.slots_in_use(), before);
    assert_eq!(rig.apply(&more).unwrap().generation_after, Some(2), "no plan was a job");
}
