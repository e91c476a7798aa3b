//! The executor that hosts a shard: glommio, for placement and as the home of the loop.
//!
//! The loop is one task that waits in the shard's own ring, so the executor's rings stay idle and small.

use glommio::{LocalExecutorBuilder, Placement};
use std::io;
use std::time::Duration;

/// Memory glommio registers for its own I/O, which the shard does not use. Its default of 10 MiB does not
/// fit beside others under the usual 8 MiB of `RLIMIT_MEMLOCK`.
const IO_MEMORY: usize = 64 << 10;

/// glommio's rings; about 220 KiB of locked memory with this depth.
const RING_DEPTH: usize = 128;

/// When glommio takes a task's turn away. The loop is the only task and never gives it back, and there must be
/// no moment at which this runs out: glommio 0.9 parks with a task that it has not begun if the timer fires between
/// being set and the first look at it. With 1 ms three of 4,200 starts on a busy machine waited for ever.
const PREEMPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs `shard` on this thread, which is named `name` and pinned to `cpu` if one is given, until it returns.
pub fn run<T>(name: &str, cpu: Option<usize>, shard: impl FnOnce() -> T) -> io::Result<T> {
    let placement = match cpu {
        Some(cpu) => Placement::Fixed(cpu),
        None => Placement::Unbound,
    };
    let executor = LocalExecutorBuilder::new(placement)
        .name(name)
        .io_memory(IO_MEMORY)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT)
        .make()
        .map_err(|error| io::Error::other(format!("{name}: the executor did not start: {error}")))?;
    Ok(executor.run(async move { shard() }))
}
