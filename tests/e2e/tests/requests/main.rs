//! What the clients and the origins of a pool of HTTP get, shown on the real binaries: one module a theme.

#![forbid(unsafe_code)]

mod backends;
mod bulk;
mod changes;
mod edits;
mod exchanges;
mod forwarding;
mod history;
mod hosts;
mod limits;
mod lines;
mod lists;
mod plans;
mod refusals;
mod rules;
mod switches;
mod tried;
mod unnoticed;

use e2e::{Pool, metric};
use harness::appliance::{Appliance, Launch};
use harness::http::client::Response;
use harness::http::{Client, Conduct, Origin, Request};
use harness::net::Target;

/// An appliance with one pool of HTTP, `web`, and one origin behind it, `a`. One shard, so that what belongs to a shard
/// (idle connections, lines, errors in a row) is all in one place.
struct Site {
    appliance: Appliance,
    origin: Origin,
    front: Target,
}

impl Site {
    fn good() -> Site {
        Site::of(Conduct::Good)
    }

    fn of(conduct: Conduct) -> Site {
        Site::with(conduct, |pool| pool)
    }

    /// With more in its pool than address and origin.
    fn with(conduct: Conduct, add: impl FnOnce(Pool) -> Pool) -> Site {
        let (origin, front) = (Origin::start(conduct), Target::fresh());
        let appliance = start(&add(Pool::http("web").listen(&front).backend("a", origin.target())));
        Site { appliance, origin, front }
    }

    /// The pool as [`Site::good`] has it, for a change of it.
    fn pool(&self) -> Pool {
        Pool::http("web").listen(&self.front).backend("a", self.origin.target())
    }

    fn client(&self) -> Client {
        Client::connect(&self.front).expect("it is let in")
    }

    /// On a connection of its own.
    #[track_caller]
    fn ask(&self, request: &Request) -> Response {
        self.client().exchange(request).unwrap_or_else(|failure| panic!("{request:?}: {failure}"))
    }

    #[track_caller]
    fn get(&self, path: &str) -> Response {
        self.ask(&Request::get("h", path))
    }

    /// The sum of this metric over all that it is counted for.
    fn metric(&self, name: &str) -> f64 {
        metric(&self.appliance.metrics(), name, &["pool=\"web\""])
    }
}

fn start(pool: &Pool) -> Appliance {
    Launch::new(&pool.to_string()).shards(1).start()
}
