//! What would become of a request that nobody sends: the decisions of a shard, taken where they can be told.
//!
//! Asks the rules that run, by the functions that shards ask, in the order in which they do (`shard::http::route`), and
//! writes down what it finds. Owns nothing and changes nothing. What a request as it is described cannot have (too long
//! a head, two lengths) is not looked for.

mod described;
mod standing;

use crate::publish::{Published, Shared};
use crate::status;
use api::answer::Failure;
use api::explain::{AskedRule, Candidate, Decision, EditKind, HeaderEdit, Sent};
use api::order::Explain;
use api::{ErrorCode, Explanation, Place};
use config::RunningPool;
use described::{Described, Led};
use link::counters::EndpointCounter;
use policy::PoolId;
use policy::close::CloseReason;
use policy::generation::{Group, Service};
use policy::http::{
    Action, Expanded, Finding, HeadEdit, HttpService, Pairs, Request, Rule, Scratch, Step, Unfit, normalise,
};
use standing::{Known, standings};

pub fn explain(shared: &Shared, asked: &Explain) -> Result<Explanation, Box<Failure>> {
    let published = shared.published.load();
    let failed = |code, message: String| {
        let mut failure = Failure::new(code, message);
        failure.generation = Some(status::generation(&published));
        Box::new(failure)
    };
    let described = Described::read(asked).map_err(|message| failed(ErrorCode::InvalidRequest, message))?;
    let Led { id, pool, takes } =
        described.pool(&published.running).map_err(|(code, message)| failed(code, message))?;
    let Service::Http(service) = &pool.generation.service else {
        let message = format!("pool `{id}` carries TCP, which has no rules; `status` shows its backends");
        return Err(failed(ErrorCode::InvalidRequest, message));
    };
    let explainer = Explainer { shared, published: &published, described: &described, id, pool, service };
    Ok(if takes { explainer.explanation() } else { explainer.misdirected() })
}

struct Explainer<'a> {
    shared: &'a Shared,
    published: &'a Published,
    described: &'a Described<'a>,
    id: &'a PoolId,
    pool: &'a RunningPool,
    service: &'a HttpService,
}

impl Explainer<'_> {
    /// No pool takes its host where it comes in: nobody's rules are asked.
    fn misdirected(&self) -> Explanation {
        let decision = Decision::Refused { status: 421, reason: CloseReason::Misdirected.label().into() };
        Explanation { decision, ..self.undecided() }
    }

    fn undecided(&self) -> Explanation {
        let Explainer { described, pool, service, .. } = self;
        Explanation {
            pool: self.id.to_string(),
            generation: pool.generation.number.0,
            method: described.method.into(),
            host: described.authority.into(),
            from: described.from.map(|address| address.to_string()),
            path: described.path.into(),
            normal_path: None,
            rules: service.rules.rules().len() as u64,
            asked: Vec::new(),
            decision: Decision::NoRule { status: 404 },
            answer_headers: Vec::new(),
        }
    }

    fn explanation(&self) -> Explanation {
        let Explainer { described, service, .. } = self;
        let mut explanation = self.undecided();
        let mut buffer = Vec::new();
        let path = match normalise(described.path.as_bytes(), service.escaped_slash, &mut buffer) {
            Ok(path) => path,
            Err(violation) => {
                explanation.decision =
                    Decision::Refused { status: violation.answer(), reason: violation.label().into() };
                return explanation;
            }
        };
        explanation.normal_path = Some(text(path.as_bytes()));
        let pairs = described.pairs();
        let headers = Pairs(&pairs);
        let request = described.request(path, &headers);
        explanation.asked = service.explain(&request).into_iter().map(|step| self.asked(step)).collect();
        let mut answer = Expanded::default();
        let decided = self.decide(&request, &mut answer);
        explanation.decision =
            decided.unwrap_or_else(|unfit| Decision::Refused { status: unfit.answer(), reason: unfit.label().into() });
        explanation.answer_headers = edits(&answer);
        if !matches!(explanation.decision, Decision::Group { .. }) {
            // An answer of our own has nothing that could be taken out of it.
            explanation.answer_headers.retain(|edit| edit.edit != EditKind::Remove);
        }
        explanation
    }

    fn asked(&self, step: Step) -> AskedRule {
        let Step { turn, id, finding } = step;
        // Compiled rules stand in the order of the document's.
        let content = self.pool.content.http.as_ref().and_then(|http| http.rules.at(turn));
        // The rule of a pool that says none, which takes everything, nobody has written.
        debug_assert!(content.is_none_or(|content| content.id == id));
        let place = content.and_then(|content| self.published.rule_places.find(self.id, content));
        AskedRule {
            rule: id.to_string(),
            turn: self.service.rules.place(turn) as u64 + 1,
            place: place.map(|place| Place { file: place.file, line: place.line, column: place.column, label: None }),
            fails: match finding {
                Finding::Matched => None,
                Finding::Failed { condition } => Some(condition),
            },
        }
    }

    fn decide(&self, request: &Request<'_>, answer: &mut Expanded) -> Result<Decision, Unfit> {
        let Explainer { service, pool, .. } = self;
        let mut scratch = Scratch::new();
        let rule = service.route(request, &mut scratch).map(|(_, rule)| rule);
        let sent = self.sent(request, rule.map(|rule| &**rule), &mut scratch, answer)?;
        if service.says_generation {
            let generation = format!("{}@{}", self.id, pool.generation.number);
            answer.set(b"X-Sluicegate-Generation", generation.as_bytes());
        }
        Ok(match rule.map(|rule| &rule.action) {
            // Without rules the only group has everything.
            None => match pool.generation.only_group() {
                Some(group) if service.rules.rules().is_empty() => self.group(group, sent),
                _ => Decision::NoRule { status: 404 },
            },
            Some(Action::Group(slot)) => {
                self.group(pool.generation.group(*slot).expect("a rule leads to a group of its generation"), sent)
            }
            Some(Action::Deny { status }) => Decision::Deny { status: *status },
            Some(Action::Respond { status, content_type, body }) => Decision::Respond {
                status: *status,
                content_type: content_type.to_string(),
                body_bytes: body.len() as u64,
            },
            Some(Action::Redirect { status, target }) => {
                let mut location = Vec::new();
                target.expand(&self.described.facts(service, scratch.captures(request.path)), &mut location)?;
                Decision::Redirect { status: *status, location: text(&location) }
            }
        })
    }

    /// What the rule makes of target, host and headers.
    fn sent(
        &self,
        request: &Request<'_>,
        rule: Option<&Rule>,
        scratch: &mut Scratch,
        answer: &mut Expanded,
    ) -> Result<Sent, Unfit> {
        let described = self.described;
        let (mut path, mut host, mut headers) = (Vec::new(), Vec::new(), Expanded::default());
        let (mut rewritten, mut renamed) = (false, false);
        if let Some(rule) = rule {
            rewritten = rule.rewrite_path(request.path, scratch, &mut path)?;
            let facts = described.facts(self.service, scratch.captures(request.path));
            rule.expand_request_edits(&facts, &mut headers)?;
            rule.expand_response_edits(&facts, answer)?;
            renamed = rule.rewrite_host(&facts, &mut host)?;
        }
        let path = if rewritten { text(&path) } else { described.path.into() };
        Ok(Sent {
            target: match described.query {
                Some(query) => format!("{path}?{query}"),
                None => path,
            },
            host: if renamed { text(&host) } else { described.authority.into() },
            headers: edits(&headers),
        })
    }

    fn group(&self, group: &Group, sent: Sent) -> Decision {
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
