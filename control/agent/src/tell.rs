//! What `config` found, in the words of the control protocol. Pure translation, one function a type.

use crate::touched::Touched;
use api::keys::{Key, KeyException, KeyTable, Keys};
use api::plan::{ChangeKind, Class, Plan, PlannedChange, Reach, RestartReason};
use api::problem::{Place, Problem, Severity};
use api::{ErrorCode, Failure};
use config::{Colour, Object, PlanWarning, PlanWarningCode};
use std::time::Duration;

/// A rule that has met a request within this is in use.
const IN_USE: Duration = Duration::from_secs(3600);

pub fn problems(problems: &config::Problems) -> Vec<Problem> {
    let drawn = |problem| Some(problems.draw_one(problem, Colour::Plain));
    let mut told: Vec<Problem> = problems.iter().map(|found| problem(found, drawn(found))).collect();
    if problems.more() > 0 {
        told.push(Problem {
            severity: if problems.errors().is_empty() { Severity::Warning } else { Severity::Error },
            code: "more".into(),
            message: format!("and {} more problems", problems.more()),
            path: None,
            place: None,
            found: None,
            accepted: None,
            also: Vec::new(),
            drawing: None,
        });
    }
    told
}

fn problem(problem: &config::Problem, drawing: Option<String>) -> Problem {
    let config::Problem { severity, code, path, place: at, found, accepted, message, help, also, .. } = problem;
    Problem {
        severity: match severity {
            config::Severity::Error => Severity::Error,
            config::Severity::Warning => Severity::Warning,
        },
        code: code.label().into(),
        message: match help {
            Some(help) => format!("{message}; {help}"),
            None => message.clone(),
        },
        path: (!path.is_empty()).then(|| path.clone()),
        place: at.as_ref().map(|at| place(at, None)),
        found: found.clone(),
        accepted: accepted.clone(),
        also: also.iter().filter_map(|also| Some(place(also.place.as_ref()?, Some(also.label.clone())))).collect(),
        drawing,
    }
}

fn place(at: &config::Place, label: Option<String>) -> Place {
    Place { file: at.file.clone(), line: at.line, column: at.column, label }
}

/// The plan, and the warnings of the document that it is about. `touched`: over what runs; `None`: nothing does.
pub fn plan(plan: &config::Plan, generation: Option<u64>, warnings: &[Problem], touched: Option<&Touched<'_>>) -> Plan {
    let in_use = touched.into_iter().flat_map(|touched| rules_in_use(plan, touched));
    let jumps = |change: &config::PlannedChange| {
        plan.warnings.iter().any(|warning| {
            warning.code == PlanWarningCode::SemanticJump
                && warning.pool == change.pool
                && change.path.starts_with(&warning.path)
        })
    };
    Plan {
        generation,
        unchanged: plan.unchanged,
        changes: plan.changes.iter().map(|change| planned(change, jumps(change), touched)).collect(),
        restart_reasons: plan.restart_reasons.iter().map(restart_reason).collect(),
        warnings: plan.warnings.iter().map(plan_warning).chain(in_use).chain(warnings.iter().cloned()).collect(),
        undoes: Vec::new(),
        diff: None,
        pools: plan.touches.pools.iter().map(ToString::to_string).collect(),
        listeners: plan.touches.listeners.iter().map(ToString::to_string).collect(),
    }
}

fn planned(change: &config::PlannedChange, semantic_jump: bool, touched: Option<&Touched<'_>>) -> PlannedChange {
    let config::PlannedChange { path, pool, object, kind, reason, old, new, touched: counted } = change;
    let concerned = touched.map(|touched| touched.of(pool.as_deref(), object)).unwrap_or_default();
    PlannedChange {
        path: path.clone(),
        pool: pool.clone(),
        object: named(object),
        kind: match kind {
            config::ChangeKind::Added => ChangeKind::Added,
            config::ChangeKind::Removed => ChangeKind::Removed,
            config::ChangeKind::Set => ChangeKind::Set,
        },
        category: reason.category.label().into(),
        class: class(reason.class),
        reach: reach(reason.reach),
        reason_code: reason.code.into(),
        reason: reason.sentence.into(),
        old: (!old.is_null()).then(|| old.clone()),
        new: (!new.is_null()).then(|| new.clone()),
        touched_connections: counted.or(concerned.connections),
        touched_tunnels: concerned.tunnels,
        touched_requests: None,
        semantic_jump,
    }
}

fn named(object: &Object) -> Option<String> {
    match object {
        Object::Appliance | Object::Pool => None,
        Object::Listen { address } => Some(format!("listen {address}")),
        Object::Rule { id } => Some(format!("rule {id}")),
        Object::List { id } => Some(format!("list {id}")),
        Object::Group { id } => Some(format!("group {id}")),
        Object::Backend { id, .. } => Some(format!("backend {id}")),
    }
}

fn restart_reason(reason: &config::RestartReason) -> RestartReason {
    RestartReason {
        path: reason.path.clone(),
        class: class(reason.reason.class),
        code: reason.reason.code.into(),
        reason: reason.reason.sentence.into(),
    }
}

/// Rules that go and have met requests of late.
fn rules_in_use(plan: &config::Plan, touched: &Touched<'_>) -> impl Iterator<Item = Problem> {
    plan.changes.iter().filter_map(|change| {
        let (Some(pool), Object::Rule { id }) = (&change.pool, &change.object) else { return None };
        if change.kind != config::ChangeKind::Removed {
            return None;
        }
        let ago = touched.rule_met(pool, id).filter(|ago| *ago < IN_USE)?;
        let ago = match ago.as_secs() / 60 {
            0 => "less than a minute ago".to_owned(),
            1 => "a minute ago".to_owned(),
            minutes => format!("{minutes} minutes ago"),
        };
        let message = format!("Rule `{id}` of pool `{pool}` goes, and has met a request {ago}");
        Some(warned("rule_in_use", message, change.path.clone()))
    })
}

fn plan_warning(warning: &PlanWarning) -> Problem {
    let code = match warning.code {
        PlanWarningCode::PoolRemoved => "pool_removed",
        PlanWarningCode::SemanticJump => "semantic_jump",
        PlanWarningCode::NoUsableBackend => "no_usable_backend",
        PlanWarningCode::AddressMoved => "address_moved",
        PlanWarningCode::StateReset => "state_reset",
    };
    warned(code, warning.message.clone(), warning.path.clone())
}

fn warned(code: &str, message: String, path: String) -> Problem {
    Problem {
        severity: Severity::Warning,
        code: code.into(),
        message,
        path: Some(path),
        place: None,
        found: None,
        accepted: None,
        also: Vec::new(),
        drawing: None,
    }
}

fn class(class: config::Class) -> Class {
    match class {
        config::Class::Soft => Class::Soft,
        config::Class::Hard => Class::Hard,
        config::Class::Process => Class::Process,
    }
}

fn reach(reach: config::Reach) -> Reach {
    match reach {
        config::Reach::Now => Reach::Now,
        config::Reach::NextTimerTick => Reach::NextTimerTick,
        config::Reach::NextRequest => Reach::NextRequest,
        config::Reach::NextConnection => Reach::NextConnection,
        config::Reach::NextSubmission => Reach::NextSubmission,
        config::Reach::PoolRestart | config::Reach::ApplianceRestart => Reach::Restart,
    }
}

/// The keys that are meant, or all; see [`config::find_keys`].
pub fn keys(wanted: Option<&str>) -> Result<Keys, Box<Failure>> {
    let found = match wanted {
        None => config::Found::all(),
        Some(wanted) => config::find_keys(wanted)
            .map_err(|no_such| Box::new(Failure::new(ErrorCode::NotFound, no_such.to_string())))?,
    };
    let is_told = |path: &str| found.keys.iter().any(|key| key.path == path);
    let table = |table: &&config::TableKeys| KeyTable {
        path: table.path.into(),
        help: table.help().into(),
        service: table.service.map(|service| service.word().into()),
        keys: table.keys.iter().map(|key| key.path).filter(|path| is_told(path)).map(Into::into).collect(),
    };
    Ok(Keys {
        keys: found.keys.iter().map(|found| key(found)).collect(),
        tables: found.tables.iter().map(table).collect(),
    })
}

fn key(key: &config::Key) -> Key {
    let config::Reason { class: soft, category, reach: felt, code, sentence } = key.reason;
    Key {
        path: key.path.into(),
        value_type: key.kind().into(),
        unit: key.unit().map(Into::into),
        default: key.default_text(),
        required: key.is_required(),
        accepted: key.accepted(),
        help: key.help().into(),
        class: class(soft),
        category: category.label().into(),
        reach: reach(felt),
        reason_code: code.into(),
        reason: sentence.into(),
        except: key.except.iter().map(key_exception).collect(),
        example: key.example(),
    }
}

fn key_exception(exception: &config::Exception) -> KeyException {
    let config::Reason { class: hard, category, reach: felt, code, sentence } = exception.reason;
    KeyException {
        when: exception.when.into(),
        class: class(hard),
        category: category.label().into(),
        reach: reach(felt),
        reason_code: code.into(),
        reason: sentence.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{NoFiles, Surroundings};
    use std::path::Path;

    fn parse(text: &str) -> Result<config::Parsed, config::Problems> {
        let around = Surroundings { source: &NoFiles, variables: &|_| None, shards_auto: 1 };
        config::parse(Path::new("site.toml"), text.as_bytes(), &around)
    }

    const DB: &str = r#"
        [pool.db.create]
        service = "tcp"
        listen = ["127.0.0.1:7000"]
        [[pool.db.group.main.backend]]
        id = "a"
        address = "127.0.0.1:9001"
    "#;

    #[test]
    fn a_problem_keeps_its_place_and_its_drawing() {
        let found = parse("[pool.db.create]\nservice = 7\nlisten = []\n").unwrap_err();
        let told = problems(&found);
        let service = told
            .iter()
            .find(|problem| problem.path.as_deref() == Some("pool.db.create.service"))
            .expect("the problem with the service");
        let place = service.place.as_ref().unwrap();
        assert_eq!((place.file.as_str(), place.line), ("site.toml", 2));
        assert!(service.drawing.as_ref().unwrap().contains("service = 7"));
        assert!(service.accepted.is_some());
    }

    #[test]
    fn a_plan_is_told() {
        let old = parse(DB).unwrap().config;
        let new = parse(&DB.replace("id = \"a\"", "id = \"a\"\nweight = 3")).unwrap().config;
        let diff = config::diff(&old, &new);
        let told = plan(&diff, Some(4), &[], None);
        let [change] = &told.changes[..] else { panic!("{told:?}") };
        assert_eq!(change.path, "pool.db.group.main.backend.a.weight");
        assert_eq!(change.object.as_deref(), Some("backend a"));
        assert_eq!((change.category.as_str(), change.class), ("lbBackends", Class::Soft));
        assert_eq!((change.old.clone(), change.new.clone()), (Some(1.into()), Some(3.into())));
        assert_eq!((change.touched_connections, change.touched_tunnels), (None, None), "nothing runs");
        assert_eq!(told.pools, ["db"]);
        assert!(diff.live().is_some());
    }

    #[test]
    fn what_needs_a_restart_says_why() {
        let old = parse(DB).unwrap().config;
        let new = parse(&format!("{DB}\n[appliance]\nshards = 7")).unwrap().config;
        let diff = config::diff(&old, &new);
        assert!(diff.live().is_none());
        let reasons = plan(&diff, None, &[], None).restart_reasons;
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].path, "appliance.shards");
        assert_eq!(reasons[0].class, Class::Process);
    }

    #[test]
    fn another_target_under_the_same_name_is_marked() {
        let old = parse(DB).unwrap().config;
        let new = parse(&DB.replace("9001", "9002")).unwrap().config;
        let told = plan(&config::diff(&old, &new), None, &[], None);
        assert!(told.warnings.iter().any(|warning| warning.code == "semantic_jump"));
        assert!(told.changes.iter().any(|change| change.semantic_jump));
    }

    #[test]
    fn every_key_is_told() {
        let told = keys(None).unwrap();
        assert_eq!(told.keys.len(), config::keys().count());
        let idle = told.keys.iter().find(|key| key.path == "pool.*.timeouts.idle").unwrap();
        assert_eq!(idle.reach, Reach::NextTimerTick);
        let in_tables: usize = told.tables.iter().map(|table| table.keys.len()).sum();
        assert_eq!(in_tables, told.keys.len());
    }

    #[test]
    fn only_the_keys_that_are_meant_are_told() {
        let told = keys(Some("pool.web.limits")).unwrap();
        assert_eq!(told.keys.len(), 1);
        assert_eq!(told.keys[0].path, "pool.*.limits.max_connections");
        assert_eq!(told.tables.len(), 1);
        let failure = keys(Some("wieght")).unwrap_err();
        assert_eq!(failure.code, ErrorCode::NotFound);
        assert!(failure.message.contains("did you mean `weight`"), "{}", failure.message);
    }
}
