//! The threads that read documents in parallel.
//!
//! *Promise*: if fewer threads than cores can be started, or none (`ulimit -u`, `pids.max` of a container), the existing ones do
//! the work. rayon alone would end the process.

use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// Starts the threads, once for a process. If none can be started, the calling thread does all the work: call this in the main
/// thread, before others are started.
///
/// An existing global pool of rayon is kept.
pub fn start() {
    static START: Once = Once::new();
    START.call_once(|| start_up_to(wanted()));
}

/// Returns the number of threads that rayon would start.
fn wanted() -> usize {
    #[expect(clippy::disallowed_methods, reason = "rayon reads the same variable")]
    let asked = std::env::var("RAYON_NUM_THREADS");
    let asked = asked.ok().and_then(|text| text.parse().ok());
    asked.filter(|count| *count > 0).unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    })
}

fn start_up_to(wanted: usize) {
    // A pool that cannot start one of its threads fails, and cannot be built again. So the threads are started first, and each
    // waits for its work.
    let (sender, receiver) = mpsc::channel::<ThreadBuilder>();
    let receiver = Arc::new(Mutex::new(receiver));
    let mut started = 0;
    for _ in 0..wanted {
        let receiver = Arc::clone(&receiver);
        let wait = move || {
            let work = receiver
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .recv();
            // There is no work if the pool existed already.
            if let Ok(work) = work {
                work.run();
            }
        };
        match std::thread::Builder::new().spawn(wait) {
            Ok(_) => started += 1,
            Err(_) => break,
        }
    }
    let built = if started == 0 {
        ThreadPoolBuilder::new()
            .num_threads(1)
            .use_current_thread()
            .build_global()
    } else {
        ThreadPoolBuilder::new()
            .num_threads(started)
            .spawn_handler(|thread| {
                let sent = sender.send(thread);
                sent.map_err(|error| std::io::Error::other(error.to_string()))
            })
            .build_global()
    };
    // An existing pool serves as well.
    drop(built);
}

/// Returns `true` if the calling thread is the only one, so that it must not wait for another one.
#[must_use]
pub fn is_alone() -> bool {
    rayon::current_thread_index().is_some() && rayon::current_num_threads() == 1
}

/// Returns the threads that delete; `None` if one is enough, or no more can be started.
pub(crate) fn thread_pool(threads: usize, files: usize) -> Option<rayon::ThreadPool> {
    (threads > 1 && files > 64)
        .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .and_then(Result::ok)
}
