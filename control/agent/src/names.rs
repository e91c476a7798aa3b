//! The names of runtime parts, all from here.
//!
//! A thread, a socket, a log file and a metric label that belong to the same thing are found by the same
//! rule, so whoever knows a pool's id knows the rest. Owns no part; only says what each is called.

use policy::{PoolId, ShardId};
use std::fmt;

/// Something that runs, or that an operator can look for.
#[derive(Clone, Copy, Debug)]
pub enum Name<'a> {
    Control,
    Compile,
    SelfCheck,
    Probe,
    Log,
    Journal,
    /// Threads that read documents and make long answers.
    Answer,
    Shard(ShardId),
    /// The value of the label `pool` in metrics, and of `pool` in logs and answers.
    Pool(&'a PoolId),
    /// The pool's own control socket, relative to the folder of the main one.
    PoolSocket(&'a PoolId),
}

/// The one function.
impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Control => f.write_str("sluice-control"),
            Name::Compile => f.write_str("sluice-compile"),
            Name::SelfCheck => f.write_str("sluice-check"),
            Name::Probe => f.write_str("sluice-probe"),
            Name::Log => f.write_str("sluice-log"),
            Name::Journal => f.write_str("sluice-journal"),
            Name::Answer => f.write_str("sluice-answer"),
            Name::Shard(shard) => write!(f, "sluice-shard-{shard}"),
            Name::Pool(pool) => write!(f, "{pool}"),
            Name::PoolSocket(pool) => write!(f, "pool/{pool}.sock"),
        }
    }
}

/// Longest thread name that Linux keeps, without the closing zero (`TASK_COMM_LEN` in `sched.h`).
pub const THREAD_NAME_BYTES_MAX: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_identity() {
        let pool = PoolId::new("db");
        assert_eq!(Name::Pool(&pool).to_string(), "db");
        assert_eq!(Name::PoolSocket(&pool).to_string(), "pool/db.sock");
        assert_eq!(Name::Shard(ShardId(7)).to_string(), "sluice-shard-7");
    }

    #[test]
    fn the_kernel_keeps_every_thread_name_whole() {
        let last = ShardId(policy::ShardSet::MAX as u16 - 1);
        for name in [
            Name::Control,
            Name::Compile,
            Name::SelfCheck,
            Name::Probe,
            Name::Log,
            Name::Journal,
            Name::Answer,
            Name::Shard(last),
        ] {
            let text = name.to_string();
            assert!(text.len() <= THREAD_NAME_BYTES_MAX, "{text} is cut by the kernel");
        }
    }
}
