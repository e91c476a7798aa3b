//! The promise of the product for requests: the configuration changes under load, no client can tell, and no answer is of
//! two generations.
//!
//! As for streams, it happens in a network of its own, with the kernel's counters as the second witness, and both
//! witnesses are first shown what they must be able to see.

use api::ErrorCode;
use api::receipt::JobOutcome;
use e2e::Pool;
use harness::appliance::{Appliance, tell};
use harness::churn::Doors;
use harness::http::received::ORIGIN;
use harness::http::{Conduct, Failure, Kind, Load, Mark, Marks, Origin, Plan, Request, client};
use harness::kernel::Counters;
use harness::net::Target;
use harness::netns;
use harness::pattern::Dice;
use harness::wait::until;

const RELOADS: usize = 300;
const SEED: u64 = 20261121;
/// Each is written into all that one generation decides: a field of requests, one of answers, the names of origins.
const LABELS: usize = 4;
const GENERATION: &str = "X-Sluicegate-Generation";

#[test]
fn three_hundred_reloads_under_requests_of_every_kind_are_noticed_by_nobody() {
    netns::isolated_appliance(|| {
        let mut site = Site::start();
        show_the_witnesses_what_failure_is(&site);
        site.change_under_load();
    });
}

/// What the document says now, and the clients' knowledge of it.
struct Site {
    appliance: Appliance,
    /// Two for each label.
    origins: Vec<[Origin; 2]>,
    label: usize,
    weights: [usize; 2],
    balance: &'static str,
    connect_seconds: usize,
    /// Rules that no client's request meets.
    other_rules: usize,
    /// Never leave.
    steady: Vec<Target>,
    /// Come and go.
    passing: Vec<Target>,
    doors: Doors,
    dice: Dice,
}

impl Site {
    fn start() -> Site {
        let named = |place: &str, label: usize| Origin::named(&format!("{place}@{label}"), Conduct::Good);
        let origins = (0..LABELS).map(|label| [named("a", label), named("b", label)]).collect();
        let steady = vec![Target::fresh(), Target::fresh_v6()];
        // Replaced before anybody comes: the document needs the origins.
        let first = Pool::http("web").listen(&steady[0]).listen(&steady[1]).rule("deny = 403");
        let site = Site {
            appliance: Appliance::start(&first.to_string()),
            origins,
            label: 0,
            weights: [1, 1],
            balance: "round-robin",
            connect_seconds: 5,
            other_rules: 0,
            doors: Doors::new(&steady),
            steady,
            passing: Vec::new(),
            dice: Dice::new(SEED),
        };
        site.appliance.apply(&site.document());
        site
    }

    fn document(&self) -> String {
        let label = self.label;
        let mut pool = Pool::http("web")
            .keys(".http", "generation_header = true\nrequest_id = true")
            .keys(".timeouts", &format!("connect = \"{}s\"", self.connect_seconds))
            .keys(".group.main", &format!("balance = {:?}", self.balance));
        for address in self.steady.iter().chain(&self.passing) {
            pool = pool.listen(address);
        }
        for (place, origin) in self.origins[label].iter().enumerate() {
            let (id, keys) = (["a", "b"][place], format!("weight = {}", self.weights[place]));
            pool = pool.backend_with(id, origin.target(), &keys);
        }
        for number in 0..self.other_rules {
            pool = pool.rule(&format!("id = \"other-{number}\"\nhost = \"other-{number}.test\"\ndeny = 403"));
        }
        let mark = format!("{{ set = {{ X-Label = \"{label}\" }} }}");
        pool.rule(&format!("id = \"all\"\ngroup = \"main\"\nrequest_headers = {mark}\nresponse_headers = {mark}"))
            .to_string()
    }

    fn plan(&self) -> Plan {
        let marks = Marks::new(&[Mark::Answer("X-Label".into()), Mark::Request("X-Label".into()), Mark::Origin]);
        Plan { marks: marks.with_generation(GENERATION), seed: SEED, ..Plan::of_every_kind(&self.doors, "h.test") }
    }

    fn change_under_load(&mut self) {
        let before = Counters::read();
        let (pid, first) = (self.appliance.status().pid, self.appliance.status().generation);
        let load = Load::start(self.plan());
        load.all_again();
        let mut counts = [0; Step::ALL.len()];
        for round in 0..RELOADS {
            let step = Step::ALL[self.dice.below(Step::ALL.len())];
            counts[step as usize] += 1;
            self.take(step);
            let outcome = load.outcome();
            assert_eq!(
                outcome.failed(),
                0,
                "after round {round}, {step:?}: {outcome}; resets: {}",
                Counters::read().resets_since(&before)
            );
            if round % 5 == 4 {
                load.all_again();
            }
        }
        assert!(counts.iter().all(|count| *count >= 10), "some steps were hardly taken: {counts:?}");
        load.all_again();
        let outcome = load.finish();
        outcome.assert_clean();
        assert_eq!(outcome.retired, 0, "a change ended connections: {outcome}");
        let moved = Counters::read().resets_since(&before);
        assert!(moved.is_empty(), "clients saw nothing, but the kernel did: {moved}");
        let all = self.origins.iter().flatten();
        let seen: Vec<_> =
            all.clone().map(|origin| (origin.seen().malformed, origin.seen().cut, origin.seen().reset)).collect();
        assert!(seen.iter().all(|seen| *seen == (0, 0, 0)), "an origin met what clients did not do: {seen:?}");
        assert!(all.clone().all(|origin| origin.seen().requests > 0), "an origin was never used");
        let status = self.appliance.status();
        assert_eq!(status.pid, pid);
        assert!(status.generation > first + RELOADS as u64 / 2, "hardly anything changed");
        until("nothing of the past is held", || {
            let generations = self.appliance.generations();
            if generations.retained_bytes == 0 { Ok(()) } else { Err(format!("{generations:?}")) }
        });
        println!("{RELOADS} reloads ({counts:?}) under {outcome}");
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Label => {
                self.label = (self.label + self.dice.between(1, LABELS - 1)) % LABELS;
                self.submit();
            }
            Step::Weights => {
                self.weights = [self.dice.between(1, 9), self.dice.between(1, 9)];
                self.submit();
            }
            Step::Policies => {
                let balances = ["round-robin", "random-two", "least-requests", "peak-ewma", "hash"];
                self.balance = balances[self.dice.below(balances.len())];
                self.connect_seconds = self.dice.between(4, 20);
                self.submit();
            }
            Step::Rules => {
                self.other_rules = self.dice.below(30);
                self.submit();
            }
            Step::OpenAddress => {
                // Up to a bound, else one leaves first.
                if self.passing.len() == 4 {
                    self.close_address();
                }
                let address = Target::fresh();
                self.passing.push(address.clone());
                self.submit();
                self.doors.open(&address);
            }
            Step::CloseAddress => self.close_address(),
            Step::Mistake => {
                let document = self.document().replace("deny = 403", "deny = 200").replace("X-Label", "Content-Length");
                let failure = self.appliance.try_apply(&document).expect_err("it is wrong");
                assert_eq!(failure.code, ErrorCode::InvalidConfiguration);
            }
        }
    }

    fn submit(&mut self) {
        let receipt = self.appliance.try_apply(&self.document()).unwrap_or_else(|failure| panic!("{}", tell(&failure)));
        assert!(matches!(receipt.outcome, JobOutcome::Applied | JobOutcome::Unchanged), "{receipt:?}");
    }

    fn close_address(&mut self) {
        if !self.passing.is_empty() {
            let address = self.passing.remove(self.dice.below(self.passing.len()));
            // Clients whose SYN follows the removal are outside the promise: they hear of it first.
            self.doors.close(&address);
            self.submit();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Step {
    /// Rule, edits both ways and all backends at once.
    Label,
    Weights,
    Policies,
    Rules,
    OpenAddress,
    CloseAddress,
    Mistake,
}

impl Step {
    const ALL: [Step; 7] =
        [Step::Label, Step::Weights, Step::Policies, Step::Rules, Step::OpenAddress, Step::CloseAddress, Step::Mistake];
}

/// Refusals, resets, cuts and mixtures, at the clients and in the counters.
fn show_the_witnesses_what_failure_is(site: &Site) {
    let void = "VOID: a witness does not see what it is there for";
    let before = Counters::read();
    let failure = |target: &Target| client::fetch(target, "h", "/").map(drop).expect_err(void);
    assert_eq!(failure(&Target::fresh()), Failure::Refused);

    let (resets, front) = (Origin::start(Conduct::ResetsMidBody { after: 100 }), Target::fresh());
    let bad = Pool::http("bad").listen(&front).backend("resets", resets.target());
    site.appliance.apply(&format!("{}{bad}", site.document()));
    let cut = failure(&front);
    assert!(matches!(cut, Failure::ResetMidResponse { .. } | Failure::WrongLength { .. }), "{void}: {cut}");
    let moved = Counters::read().resets_since(&before);
    for witness in ["Tcp.OutRsts", "Tcp.EstabResets", "Tcp.AttemptFails"] {
        assert!(moved.by(witness) > 0, "{void}: {witness}: {moved}");
    }

    // An answer whose head is of one label and whose origin is of another, and one that says no generation. The origin is not one
    // of the site's, which are to meet no client that leaves in the middle.
    let of_another = Origin::named("a@2", Conduct::Good);
    let mark = "{ set = { X-Label = \"1\" } }";
    let mixing = |http: &str| {
        Pool::http("bad")
            .listen(&front)
            .keys(".http", http)
            .backend("x", of_another.target())
            .rule(&format!("group = \"main\"\nrequest_headers = {mark}\nresponse_headers = {mark}"))
    };
    for http in ["generation_header = true", ""] {
        site.appliance.apply(&format!("{}{}", site.document(), mixing(http)));
        let plan = Plan { doors: Doors::new(std::slice::from_ref(&front)), ..site.plan() };
        let load = Load::start(plan);
        load.wait_failure("mixed generations");
        let outcome = load.finish();
        assert!(Kind::ALL.iter().all(|kind| outcome.of(*kind).complete == 0), "{void}: {outcome}");
    }
    let response = client::ask(&front, &Request::get("h", "/")).expect("an answer");
    assert_eq!((response.fields.first("X-Label"), response.fields.first(ORIGIN)), (Some("1"), Some("a@2")));
    site.appliance.apply(&site.document());
}
