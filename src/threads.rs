//! The threads that read documents at the same time.
//!
//! *Promise*: where fewer can be started than there are cores, or none (`ulimit -u`, `pids.max` of a container), those that
//! there are do the work. rayon ends the process then.

use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};

use rayon::{ThreadBuilder, ThreadPoolBuilder};

/// Starts the threads, once for a process. Where none can be started the calling thread does all the work: call it from
/// the main thread, before others are started.
///
/// Whoever has built rayon's global pool already keeps that.
pub fn start() {
    static START: Once = Once::new();
    START.call_once(|| start_up_to(wanted()));
}

/// Returns how many threads rayon would start.
fn wanted() -> usize {
    #[expect(clippy::disallowed_methods, reason = "rayon reads the same variable")]
    let asked = std::env::var("RAYON_NUM_THREADS");
    let asked = asked.ok().and_then(|text| text.parse().ok());
    asked.filter(|count| *count > 0).unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    })
}

fn start_up_to(wanted: usize) {
    // A pool that cannot start one of its threads is none, and there is no second try. So the threads are started first,
    // and each waits for what it is to do.
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
            // Nothing comes where the pool was there already.
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
    // The pool that was there before serves as well.
    drop(built);
}

/// Returns `true` if the calling thread is the only one that works, so that it must not wait for another one.
#[must_use]
pub fn is_alone() -> bool {
    rayon::current_thread_index().is_some() && rayon::current_num_threads() == 1
}

/// Returns the threads that delete; `None`: one is enough, or is all there is.
pub(crate) fn thread_pool(threads: usize, victims: usize) -> Option<rayon::ThreadPool> {
    (threads > 1 && victims > 64)
        .then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build())
        .and_then(Result::ok)
}
