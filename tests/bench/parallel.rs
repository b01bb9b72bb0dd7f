//! Distributes work to threads in small chunks, so that all of them finish together.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Returns the number of threads that the machine runs at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Calls `work` for chunks of `0..count`, in order, on this many threads. Each thread has a state of its own;
/// all of them are returned.
///
/// # Errors
/// The first one of any thread; the other threads finish their chunk.
pub(crate) fn in_chunks<S: Default + Send>(
    count: usize,
    chunk: usize,
    threads: usize,
    work: impl Fn(&mut S, Range<usize>) -> io::Result<()> + Sync,
) -> io::Result<Vec<S>> {
    let next = AtomicUsize::new(0);
    let one = || -> io::Result<S> {
        let mut state = S::default();
        loop {
            let start = next.fetch_add(chunk, Ordering::Relaxed);
            if start >= count {
                return Ok(state);
            }
            let end = count.min(start.saturating_add(chunk));
            if let Err(error) = work(&mut state, start..end) {
                // No thread takes another chunk.
                next.store(count, Ordering::Relaxed);
                return Err(error);
            }
        }
    };
    if threads <= 1 {
        // As in a real collector, a single thread is the main thread.
        return one().map(|state| vec![state]);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| io::Error::other("a thread panicked"))?
            })
            .collect()
    })
}
