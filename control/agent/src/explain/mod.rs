//! What would become of a request that nobody sends: the decisions of a shard, taken where they can be told.
//!
//! Asks the rules that run, by the function that shards ask ([`config::foretell`]), and writes down what it finds and whom it would
//! go to. Owns nothing and changes nothing.

mod standing;

use crate::publish::{Published, Shared};
use crate::status;
use api::answer::Failure;
use api::explain::{AskedRule, Candidate, Decision, EditKind, HeaderEdit, Sent};
use api::order::Explain;
use api::{ErrorCode, Explanation, Place};
use config::{Described, Description, Foretold, Leads, Led, RunningPool, Unclear};
use link::counters::EndpointCounter;
use policy::GroupSlot;
use policy::close::CloseReason;
use policy::generation::{Group, Service};
use policy::http::{Action, Decider, Expanded, Finding, HeadEdit, Outcome, Step};
use standing::{Known, standings};

pub fn explain(shared: &Shared, asked: &Explain) -> Result<Explanation, Box<Failure>> {
    let published = shared.published.load();
    let failed = |code, message: String| {
        let mut failure = Failure::new(code, message);
        failure.generation = Some(status::generation(&published));
        Box::new(failure)
    };
    let description = description(asked);
    let described = Described::read(&description).map_err(|message| failed(ErrorCode::InvalidRequest, message))?;
    let Led { pool, takes } =
        Leads::new(&published.running.config).find(&described).map_err(|unclear| match unclear {
            Unclear::Nowhere(message) => failed(ErrorCode::NotFound, message),
            Unclear::Several(message) => failed(ErrorCode::InvalidRequest, message),
        })?;
    let pool = published.running.pools.get(&pool.id).expect("a pool of the document that runs");
    let generation = &pool.generation;
    let Service::Http(service) = &generation.service else {
        let id = &generation.id;
        let message = format!("pool `{id}` carries TCP, which has no rules; `status` shows its backends");
        return Err(failed(ErrorCode::InvalidRequest, message));
    };
    let decider = Decider {
        pool: &generation.id,
        number: generation.number,
        service,
        only_group: generation.only_group().map(|group| group.slot),
    };
    let explainer = Explainer { shared, published: &published, described: &described, pool, decider };
    Ok(if takes { explainer.explanation() } else { explainer.misdirected() })
}

fn description(asked: &Explain) -> Description<'_> {
    let Explain { url, method, pool, host, headers, from } = asked;
    Description {
        url,
        method: method.as_deref(),
        pool: pool.as_deref(),
        host: host.as_deref(),
        headers: headers.iter().map(|header| (&*header.name, &*header.value)).collect(),
        from: from.as_deref(),
    }
}

struct Explainer<'a> {
    shared: &'a Shared,
    published: &'a Published,
    described: &'a Described<'a>,
    pool: &'a RunningPool,
    decider: Decider<'a>,
}

impl Explainer<'_> {
    /// No pool takes its host where it comes in: nobody's rules are asked.
    fn misdirected(&self) -> Explanation {
        let decision = Decision::Refused { status: 421, reason: CloseReason::Misdirected.label().into() };
        Explanation { decision, ..self.undecided() }
    }

    fn undecided(&self) -> Explanation {
        let Explainer { described, decider, .. } = self;
        Explanation {
            pool: decider.pool.to_string(),
            generation: decider.number.0,
            method: described.method.into(),
            host: described.authority.into(),
            from: described.from.map(|address| address.to_string()),
            path: described.path.into(),
            normal_path: None,
            rules: decider.service.rules.rules().len() as u64,
            asked: Vec::new(),
            decision: Decision::NoRule { status: 404 },
            answer_headers: Vec::new(),
        }
    }

    fn explanation(&self) -> Explanation {
        let Explainer { described, decider, .. } = self;
        let foretold = config::foretell(decider, described);
        let mut answer_headers = edits(&foretold.response);
        if !matches!(foretold.outcome, Outcome::Group(_)) {
            // An answer of our own has nothing that could be taken out of it.
            answer_headers.retain(|edit| edit.edit != EditKind::Remove);
        }
        let steps = config::asked_rules(decider, described);
        Explanation {
            normal_path: foretold.normal_path.clone(),
            asked: steps.into_iter().map(|step| self.asked(step)).collect(),
            decision: self.decision(foretold),
            answer_headers,
            ..self.undecided()
        }
    }

    fn decision(&self, foretold: Foretold<'_>) -> Decision {
        let Foretold { rule, outcome, target, host, location, request, .. } = foretold;
        match outcome {
            Outcome::Group(slot) => self.group(slot, Sent { target, host, headers: edits(&request) }),
            Outcome::NoRule => Decision::NoRule { status: 404 },
            Outcome::Deny { status } => Decision::Deny { status },
            Outcome::Redirect { status } => Decision::Redirect { status, location: location.unwrap_or_default() },
            Outcome::Refused(unfit) => Decision::Refused { status: unfit.answer(), reason: unfit.label().into() },
            Outcome::Respond { status } => {
                let (content_type, body_bytes) = match rule.map(|(_, rule)| &rule.action) {
                    Some(Action::Respond { content_type, body, .. }) => (content_type.to_string(), body.len() as u64),
                    _ => unreachable!("only a rule that says so is answered by"),
                };
                Decision::Respond { status, content_type, body_bytes }
            }
        }
    }

    fn asked(&self, step: Step) -> AskedRule {
        let Step { turn, id, finding } = step;
        // Compiled rules stand in the order of the document's.
        let content = self.pool.content.http.as_ref().and_then(|http| http.rules.at(turn));
        // The rule of a pool that says none, which takes everything, nobody has written.
        debug_assert!(content.is_none_or(|content| content.id == id));
        let place = content.and_then(|content| self.published.rule_places.find(self.decider.pool, content));
        AskedRule {
            rule: id.to_string(),
            turn: self.decider.service.rules.place(turn) as u64 + 1,
            place: place.map(|place| Place { file: place.file, line: place.line, column: place.column, label: None }),
            fails: match finding {
                Finding::Matched => None,
                Finding::Failed { condition } => Some(condition),
            },
        }
    }

    fn group(&self, slot: GroupSlot, sent: Sent) -> Decision {
        let group = self.pool.generation.group(slot).expect("a rule leads to a group of its generation");
        let content = self.pool.content.group(&group.id).expect("what runs is in the document");
        let standings = standings(group, |endpoint| self.known(group, endpoint));
        let backends = group.endpoints.iter().zip(standings).map(|(endpoint, standing)| Candidate {
            backend: status::backend_status(self.shared, group, endpoint),
            standing,
        });
        let mut backends: Vec<Candidate> = backends.collect();
        backends.sort_by(|a, b| a.backend.backend.cmp(&b.backend.backend));
        Decision::Group {
            group: group.id.to_string(),
            balance: content.balancing.balance.word().into(),
            sent,
            backends,
        }
    }

    fn known(&self, group: &Group, ix: usize) -> Known {
        let endpoint = &group.endpoints[ix];
        let state = self.shared.board.state(endpoint.slot);
        let open = self.shared.counted.endpoint(endpoint.slot, EndpointCounter::Connections);
        Known {
            health: state.as_ref().map(|state| state.health),
            resolved: state.is_some_and(|state| !state.addresses.is_empty()),
            full: endpoint.max_connections.is_some_and(|max| open >= u64::from(max)),
        }
    }
}

fn edits(expanded: &Expanded) -> Vec<HeaderEdit> {
    let edits = expanded.iter().map(|edit| {
        let (edit, name, value) = match edit {
            HeadEdit::Add { name, value } => (EditKind::Add, name, Some(value)),
            HeadEdit::Set { name, value } => (EditKind::Set, name, Some(value)),
            HeadEdit::Remove { name } => (EditKind::Remove, name, None),
        };
        HeaderEdit { edit, name: text(name), value: value.map(text) }
    });
    edits.collect()
}

/// Nothing that was described is anything but text, nor what is made of it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
