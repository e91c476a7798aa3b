//! From one process to the next: what orders have changed stays unless the file says otherwise, and who changed it is known.

use api::order::Rollback;
use api::receipt::JobOutcome;
use api::{Drift, Order};
use e2e::{Pool, backend, document_of, drift, give};
use harness::appliance::{Appliance, Launch, rfc3339, tell};
use harness::net::Target;
use harness::wait::until;
use serde_json::json;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// A pool `db` with the backend `a`, in one process after the other.
struct Site {
    front: Target,
    backend: Target,
    tables: String,
}

impl Site {
    fn new() -> Site {
        Site { front: Target::fresh(), backend: Target::fresh(), tables: String::new() }
    }

    fn with(tables: &str) -> Site {
        Site { tables: tables.to_owned(), ..Site::new() }
    }

    fn pool(&self, keys: &str) -> String {
        Pool::new("db").listen(&self.front).backend_with("a", &self.backend, keys).to_string()
    }

    /// With a file whose backend has these keys.
    fn launch(&self, keys: &str) -> Launch {
        Launch::new(&self.pool(keys)).shards(1).other_tables(&self.tables)
    }

    fn start(&self, keys: &str) -> Appliance {
        self.launch(keys).start()
    }

    fn again(&self, folder: TempDir, keys: &str) -> Appliance {
        self.launch(keys).in_folder(folder).start()
    }
}

fn weigh(appliance: &Appliance, weight: u32) -> u64 {
    give(appliance, &json!({"order": "backend.set", "pool": "db", "backend": "a", "weight": weight})).job
}

fn weight(appliance: &Appliance) -> u32 {
    backend(&appliance.status(), "a").weight
}

fn rollback(appliance: &Appliance, to: Option<u64>) {
    let receipt = appliance.change(Order::Rollback(Rollback { to, if_generation: None }));
    let receipt = receipt.unwrap_or_else(|failure| panic!("{}", tell(&failure)));
    assert_eq!(receipt.outcome, JobOutcome::Applied, "{receipt:?}");
}

/// What differs, and by which job and order.
fn told(drift: &Drift) -> Vec<(&str, Option<(u64, &str)>)> {
    let by = |by: &Option<api::By>| by.clone().map(|by| by.job);
    drift
        .changes
        .iter()
        .map(|drifted| {
            let order = drifted.by.as_ref().and_then(|by| by.order.as_deref());
            (drifted.change.path.as_str(), by(&drifted.by).zip(order))
        })
        .collect()
}

/// A line of the start, which has one sentence and no gaps in it.
#[track_caller]
fn warned(appliance: &Appliance, part: &str) -> String {
    let line = appliance.wait_line(part);
    assert!(line.starts_with("warning: ") && !line.contains("  "), "{line:?}");
    line
}

#[test]
fn orders_survive_an_end_in_order_and_it_is_known_whose_they_were() {
    let site = Site::new();
    let appliance = site.start("weight = 1");
    assert_eq!(drift(&appliance).changes, []);
    let job = weigh(&appliance, 7);
    let added = give(
        &appliance,
        &json!({"order": "backend.add", "pool": "db", "backend": "b", "address": Target::fresh().to_string(), "drain": true}),
    );
    let before = drift(&appliance);
    let expected = [
        ("pool.db.group.main.backend.a.weight", Some((job, "backend.set"))),
        ("pool.db.group.main.backend.b", Some((added.job, "backend.add"))),
    ];
    assert_eq!(told(&before), expected);
    let hash = appliance.status().hash;

    let appliance = site.again(appliance.stop(), "weight = 1");
    warned(&appliance, "`drift` tells how");
    assert_eq!(appliance.status().hash, hash);
    let after = drift(&appliance);
    assert_eq!((&after.base, &after.base_hash), (&before.base, &before.base_hash));
    assert_eq!(after.changes, before.changes, "to the author");
    assert_eq!(appliance.receipt(job).order.as_deref(), Some("backend.set"));

    // The next process after that has nothing new to say, and one that crashes neither.
    let appliance = site.again(appliance.kill(), "weight = 1");
    assert_eq!((drift(&appliance).changes, appliance.status().hash), (before.changes, hash));

    // By the same order the other way round, nothing is left of it.
    weigh(&appliance, 1);
    give(&appliance, &json!({"order": "backend.remove", "pool": "db", "backend": "b"}));
    assert_eq!(drift(&appliance).changes, []);
    let appliance = site.again(appliance.stop(), "weight = 1");
    assert_eq!(drift(&appliance).changes, []);
    assert!(!appliance.output().join("\n").contains("drift"));
}

#[test]
fn a_file_that_has_changed_counts_and_what_it_undoes_can_be_gone_back_to() {
    let site = Site::new();
    let appliance = site.start("weight = 1");
    let job = weigh(&appliance, 7);
    let appliance = site.again(appliance.stop(), "weight = 1\nbackup = true");
    let line = warned(&appliance, "has changed since it was given");
    assert!(line.contains(&format!("generation {job} ")) && line.contains("site.toml"), "{line}");
    let now = backend(&appliance.status(), "a").clone();
    assert_eq!((now.weight, now.backup), (1, true));
    assert_eq!(drift(&appliance).changes, []);

    rollback(&appliance, Some(job));
    let now = backend(&appliance.status(), "a").clone();
    assert_eq!((now.weight, now.backup), (7, false));
    let back = drift(&appliance);
    let by = Some((appliance.status().generation, "rollback"));
    let expected = ["backup", "weight"].map(|key| (format!("pool.db.group.main.backend.a.{key}"), by));
    assert_eq!(told(&back), expected.each_ref().map(|(path, by)| (path.as_str(), *by)));

    // That is an order like any other, so it stays.
    let appliance = site.again(appliance.stop(), "weight = 1\nbackup = true");
    assert_eq!(weight(&appliance), 7);
    assert_eq!(told(&drift(&appliance)), told(&back));
}

/// What was submitted over the socket is not what the file says, and nobody is to look for it in vain.
#[test]
fn a_submitted_document_that_the_file_undoes_can_be_gone_back_to() {
    let site = Site::new();
    let appliance = site.start("weight = 1");
    let submitted = appliance.apply(&site.pool("weight = 7"));
    let appliance = site.again(appliance.stop(), "weight = 1");
    let line = warned(&appliance, &format!("generation {}", submitted.job));
    assert!(line.contains("`rollback`"), "{line}");
    assert_eq!(weight(&appliance), 1);
    rollback(&appliance, Some(submitted.job));
    assert_eq!(weight(&appliance), 7);
}

/// It says the same, at another time.
#[test]
fn a_file_whose_entry_has_expired_is_not_a_file_that_has_changed() {
    let expires = rfc3339(SystemTime::now() + Duration::from_secs(3));
    let list =
        format!("[list.office]\nentries = [\"192.0.2.1\", {{ entry = \"192.0.2.2\", expires = {expires:?} }}]\n");
    let site = Site::with(&list);
    let appliance = site.start("weight = 1");
    weigh(&appliance, 7);
    until("the entry expires", || match document_of(&appliance, None).document {
        text if text.contains("192.0.2.2") => Err(text),
        _ => Ok(()),
    });
    assert_eq!(told(&drift(&appliance)).len(), 1);
    let appliance = site.again(appliance.stop(), "weight = 1");
    assert_eq!(weight(&appliance), 7);
    let appliance = site.again(appliance.kill(), "weight = 1");
    assert_eq!(weight(&appliance), 7);
    assert!(!appliance.output().join("\n").contains("did not end in order"));
}

/// How many generations are kept may be said otherwise at any time; the journal is read as it was written.
#[test]
fn what_was_gone_back_to_runs_after_a_crash_also_if_fewer_generations_are_kept() {
    for in_order in [false, true] {
        let site = Site::with("[reload]\nkeep_generations = 100\n");
        let appliance = site.start("weight = 1");
        for weight in 2..=6 {
            weigh(&appliance, weight);
        }
        rollback(&appliance, Some(1));
        weigh(&appliance, 9);
        rollback(&appliance, Some(3));
        assert_eq!(weight(&appliance), 3);
        let few = Site { tables: "[reload]\nkeep_generations = 2\n".to_owned(), ..site };
        let running = appliance.status().generation;
        let folder = if in_order { appliance.stop() } else { appliance.kill() };
        let appliance = few.again(folder, "weight = 1");
        assert!(!appliance.output().join("\n").contains("ends here"), "{:?}", appliance.output());
        if in_order {
            rollback(&appliance, Some(running));
        }
        assert_eq!(weight(&appliance), 3);
    }
}

/// What the process before had of its environment is what ran; a text that only looks like a variable is that text.
#[test]
fn a_document_with_variables_is_there_as_they_were() {
    let (front, backend) = (Target::fresh(), Target::fresh());
    let pool = Pool::http("web")
        .listen(&front)
        .backend("a", &backend)
        .keys(".timeouts", "idle = \"${SITE_IDLE}\"")
        .rule("id = \"fixed\"\nrespond = \"$${SITE_IDLE} $$ {path}\"")
        .to_string();
    let launch = |idle: &str| Launch::new(&pool).shards(1).environment("SITE_IDLE", idle);
    let appliance = launch("77s").start();
    let (job, hash) = (appliance.status().generation, appliance.status().hash);
    give(&appliance, &json!({"order": "backend.set", "pool": "web", "backend": "a", "weight": 7}));
    let changed = appliance.status().hash;
    let appliance = launch("99s").in_folder(appliance.kill()).start();
    assert_eq!((weight(&appliance), appliance.status().hash), (7, changed));
    assert!(document_of(&appliance, None).document.contains("77s"));
    rollback(&appliance, Some(job));
    assert_eq!(appliance.status().hash, hash);
    let appliance = launch("99s").in_folder(appliance.stop()).start();
    assert!(document_of(&appliance, None).document.contains("99s"), "it is the file that has changed");
}
