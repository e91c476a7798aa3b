//! Where control stands with each shard.
//!
//! ```text
//!            started                    Synced, and the root is still the newest
//!   Dead ──────────────▶ Joining ───────────────────────────────────────────────▶ Live
//!    ▲                    │   ▲                                                    │
//!    │ Died (from any)   late │ any report                          late to adopt  │
//!    │                    ▼   │                                    or to prepare   │
//!    └─────────────────── Lost ◀───────────────────────────────────────────────────┘
//!
//!   (control restarted) Asked ── Holding ──▶ Told ── all have told ──▶ Joining;     late ──▶ Lost
//! ```
//!
//! Owns nothing else: what follows from a change of standing is decided in `membership`.

use crate::ids::{ShardId, ShardSet};
use crate::reload::planted::{Mistake, is};
use crate::tick::Tick;

#[derive(Default)]
pub struct Shards {
    shards: Vec<Shard>,
}

struct Shard {
    incarnation: u32,
    standing: Standing,
    /// What it holds is known, or known to be nothing, since this control began.
    told: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    Dead,
    /// Silent for too long. It is suspended; nothing is believed of it.
    Lost,
    /// A whole root is on its way.
    Joining {
        epoch: u64,
        until: Tick,
    },
    /// It runs the newest root and takes part in every job.
    Live,
    /// Asked what it holds, by a control that knows nothing.
    Asked {
        epoch: u64,
        until: Tick,
    },
    /// It has answered; the others have not.
    Told,
}

impl Shards {
    pub fn standing(&self, shard: ShardId) -> Standing {
        self.shards.get(shard.ix()).map_or(Standing::Dead, |shard| shard.standing)
    }

    /// The executor that is alive.
    pub fn incarnation(&self, shard: ShardId) -> Option<u32> {
        let shard = self.shards.get(shard.ix())?;
        (shard.standing != Standing::Dead).then_some(shard.incarnation)
    }

    pub fn set(&mut self, shard: ShardId, standing: Standing) {
        self.shards[shard.ix()].standing = standing;
    }

    /// Whether it is not one that is known, or was.
    pub fn is_new(&self, shard: ShardId, incarnation: u32) -> bool {
        self.shards.get(shard.ix()).is_none_or(|known| known.incarnation < incarnation)
    }

    /// A new executor, or one that a restarted control has found.
    pub fn begin(&mut self, shard: ShardId, incarnation: u32, standing: Standing, told: bool) {
        while self.shards.len() <= shard.ix() {
            self.shards.push(Shard { incarnation: 0, standing: Standing::Dead, told: true });
        }
        let new = Shard { incarnation, standing, told };
        let old = std::mem::replace(&mut self.shards[shard.ix()], new);
        assert_eq!(old.standing, Standing::Dead, "shard {shard} is started while it lives");
    }

    pub fn tell(&mut self, shard: ShardId) {
        self.shards[shard.ix()].told = true;
    }

    pub fn live(&self) -> ShardSet {
        self.which(|shard| shard.standing == Standing::Live)
    }

    pub fn alive(&self) -> ShardSet {
        self.which(|shard| shard.standing != Standing::Dead)
    }

    pub fn joining(&self) -> ShardSet {
        self.which(|shard| matches!(shard.standing, Standing::Joining { .. }))
    }

    pub fn asked(&self) -> ShardSet {
        self.which(|shard| matches!(shard.standing, Standing::Asked { .. }))
    }

    pub fn told(&self) -> ShardSet {
        self.which(|shard| shard.standing == Standing::Told)
    }

    /// Alive, and it may hold things that this control has never heard of.
    pub fn untold(&self) -> ShardSet {
        self.which(|shard| shard.standing != Standing::Dead && !shard.told && !is(Mistake::UntoldHoldNothing))
    }

    /// Those from which an answer was due by `now`.
    pub fn late(&self, now: Tick) -> ShardSet {
        self.which(|shard| shard.due().is_some_and(|until| until <= now))
    }

    pub fn next_deadline(&self) -> Option<Tick> {
        self.shards.iter().filter_map(Shard::due).min()
    }

    fn which(&self, wanted: impl Fn(&Shard) -> bool) -> ShardSet {
        let all = self.shards.iter().zip(0u16..);
        all.filter(|(shard, _)| wanted(shard)).map(|(_, ix)| ShardId(ix)).collect()
    }
}

impl Shard {
    fn due(&self) -> Option<Tick> {
        match self.standing {
            Standing::Joining { until, .. } | Standing::Asked { until, .. } => Some(until),
            Standing::Dead | Standing::Lost | Standing::Live | Standing::Told => None,
        }
    }
}
