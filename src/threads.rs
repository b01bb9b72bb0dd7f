//! The threads that read documents and delete files in parallel.
//!
//! *Promise*: if fewer threads than cores can be started, or none (`ulimit -u`, `pids.max` of a container), the existing ones do
//! the work. rayon alone would end the process.
//!
//! One thread per core is right for files in the page cache. On a cold disk threads mostly wait, each for one request, while
//! the device could serve many: two threads read 44,000 blobs of 2 kB in 2.9 s, sixteen in 0.9 s. The file system does not
//! report which is the case (virtual disks claim to be rotational), so it is measured: whether a batch came from a disk, or
//! took long. CPU time would be a worse measure, since on a busy machine threads wait for the CPU as well.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelIterator as _, IntoParallelRefIterator as _,
    ParallelIterator as _,
};
use rayon::{ThreadBuilder, ThreadPool, ThreadPoolBuilder};

/// The number of concurrent requests while threads wait for a device.
const IN_FLIGHT: usize = 16;

/// A batch of files came from a disk if at least this many bytes per file were read. From the page cache it is zero; an
/// inode has 256.
const FROM_DISK: u64 = 128;

/// And at least this many in total: in a batch of few files, one block of a directory would otherwise be enough.
const FROM_DISK_AT_LEAST: u64 = 8192;

/// A file that takes a thread longer than this came from a slow device: from the page cache it takes 10 µs, on a busy
/// machine several times that.
const FAR: Duration = Duration::from_micros(500);

/// The minimum number of items per thread: for fewer, waking another thread takes longer than the work.
const AT_LEAST: usize = 512;

/// Starts the threads, once per process. If none can be started, the calling thread does all the work: the first call must
/// come from the main thread. Everything that uses the threads calls this; a small layout needs none.
///
/// An existing global pool of rayon is kept.
pub fn start() {
    START.call_once(|| start_up_to(wanted()));
}

static START: Once = Once::new();

/// Returns the number of threads that rayon would start.
fn wanted() -> usize {
    asked().unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
    })
}

/// Returns the number of threads that the user asked for.
fn asked() -> Option<usize> {
    #[expect(clippy::disallowed_methods, reason = "rayon reads the same variable")]
    let asked = std::env::var("RAYON_NUM_THREADS");
    let asked = asked.ok().and_then(|text| text.parse().ok());
    asked.filter(|count| *count > 0)
}

fn start_up_to(wanted: usize) {
    // A pool that cannot start one of its threads fails and cannot be built again. So the threads are started first, and
    // each waits for work.
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

/// Applies a function that only computes to each item, in parallel if there are many. The results are in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    function: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    map_with(items, || (), |(), item| function(item))
}

/// Like [`map`], with a value per thread, such as a buffer.
pub(crate) fn map_with<T: Sync, R: Send, S>(
    items: &[T],
    make: impl Fn() -> S + Sync + Send,
    function: impl Fn(&mut S, &T) -> R + Sync + Send,
) -> Vec<R> {
    if items.len() <= AT_LEAST {
        let mut own = make();
        return items.iter().map(|item| function(&mut own, item)).collect();
    }
    start();
    let items = items.par_iter().with_min_len(AT_LEAST);
    items.map_init(make, function).collect()
}

/// `true` if the last batch of reads waited for a device.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Runs one batch of reads of this many files in the thread pool that it is called in. There are more threads than cores
/// while they mostly wait, unless the user set a number.
fn reading<R: Send>(files: usize, batch: impl FnOnce() -> R + Send) -> R {
    start();
    if asked().is_some() {
        return batch();
    }
    let wide = WAITS.load(Ordering::Relaxed).then(wide_pool).flatten();
    let threads = wide.map_or_else(rayon::current_num_threads, ThreadPool::current_num_threads);
    let (result, waited) = measured(files, threads, || match wide {
        Some(pool) => pool.install(batch),
        None => batch(),
    });
    WAITS.store(waited, Ordering::Relaxed);
    result
}

/// Does work on a number of files, and returns whether that many threads mostly waited for it.
fn measured<R>(files: usize, threads: usize, work: impl FnOnce() -> R) -> (R, bool) {
    let read = bytes_from_disks();
    let begun = Instant::now();
    let result = work();
    let measured = Measured {
        files,
        threads,
        wall: begun.elapsed(),
        from_disks: bytes_from_disks()
            .zip(read)
            .map_or(0, |(now, before)| now.saturating_sub(before)),
    };
    (result, measured.waited())
}

/// Items of which one thread reads all: waking another one takes longer.
const FEW: usize = 16;

/// What one thread reads before others are started: starting them takes a third of that, and most layouts are read by then.
const ALONE: Duration = Duration::from_millis(2);

/// Files after which it is known whether they take long.
const ALONE_AT_ONCE: usize = 8;

/// The microseconds for which one thread has read since the process began.
static ALONE_SO_FAR: AtomicU64 = AtomicU64::new(0);

/// Returns `true` while the calling thread can read faster than others are started.
fn is_one_enough() -> bool {
    let so_far = Duration::from_micros(ALONE_SO_FAR.load(Ordering::Relaxed));
    !START.is_completed() && !WAITS.load(Ordering::Relaxed) && so_far < ALONE
}

/// Reads a few files in the calling thread. If they take long, the next ones are read by more threads.
fn read_alone<R>(files: usize, batch: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = batch();
    let wall = begun.elapsed();
    let micros = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
    ALONE_SO_FAR.fetch_add(micros, Ordering::Relaxed);
    let measured = Measured {
        files,
        threads: 1,
        wall,
        // Asking for it takes as long as a few files.
        from_disks: 0,
    };
    if asked().is_none() && measured.waited() {
        WAITS.store(true, Ordering::Relaxed);
    }
    result
}

/// Reads one file for each item: in one thread if there are few, else with more threads than cores while they mostly wait.
pub(crate) fn read_each<T: Sync, R: Send>(
    items: &[T],
    read: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    read_each_with(items, || (), |(), item| read(item))
}

/// Like [`read_each`], with a value that is shared by many items, such as a buffer.
pub(crate) fn read_each_with<T: Sync, V, R: Send>(
    items: &[T],
    make: impl Fn() -> V + Sync + Send,
    read: impl Fn(&mut V, &T) -> R + Sync + Send,
) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    let mut rest = items;
    let mut value = None;
    while !rest.is_empty() && (items.len() <= FEW || is_one_enough()) {
        let (batch, after) = rest.split_at(rest.len().min(ALONE_AT_ONCE));
        let value = value.get_or_insert_with(&make);
        read_alone(batch.len(), || {
            results.extend(batch.iter().map(|item| read(value, item)));
        });
        rest = after;
    }
    if !rest.is_empty() {
        results.extend(reading(rest.len(), || {
            // Files differ in length: no thread gets a long run of them.
            let items = rest.par_iter().with_max_len(32);
            items.map_init(&make, &read).collect::<Vec<R>>()
        }));
    }
    results
}

/// Files that are read or deleted before it is known whether the device is slow.
const FIRST: usize = 32;

/// Returns the number of items in the first batch of reads: enough to measure, and few enough that a cold disk is not read by
/// too few threads for long.
pub(crate) fn first_batch(most: usize) -> usize {
    if WAITS.load(Ordering::Relaxed) {
        most
    } else {
        most.min(FIRST)
    }
}

/// The cost of a batch of reads.
struct Measured {
    files: usize,
    threads: usize,
    wall: Duration,
    /// The bytes read from storage in that time. Reads by file systems in user space are not counted as ours.
    from_disks: u64,
}

impl Measured {
    /// Returns `true` if the threads mostly waited.
    fn waited(&self) -> bool {
        let files = self.files as u64;
        let threads = u32::try_from(self.threads).unwrap_or(u32::MAX);
        let limit = FAR.saturating_mul(u32::try_from(self.files).unwrap_or(u32::MAX));
        files > 0
            && (self.from_disks >= files.saturating_mul(FROM_DISK).max(FROM_DISK_AT_LEAST)
                || self.wall.saturating_mul(threads) >= limit)
    }
}

/// Returns the bytes that this process has caused to be read from storage (proc(5), `/proc/pid/io`); `None` if that is unknown.
fn bytes_from_disks() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok())
}

/// Returns the threads for a slow device; `None` if there are as many anyway, or they cannot be started.
fn wide_pool() -> Option<&'static ThreadPool> {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    start();
    let pool = POOL.get_or_init(|| {
        let is_wanted = rayon::current_num_threads() < IN_FLIGHT;
        let builder = ThreadPoolBuilder::new().num_threads(IN_FLIGHT);
        is_wanted.then(|| builder.build().ok()).flatten()
    });
    pool.as_ref()
}

/// Returns `true` if the calling thread is the only one, so that it must not wait for others.
#[must_use]
pub fn is_alone() -> bool {
    start();
    rayon::current_thread_index().is_some() && rayon::current_num_threads() == 1
}

/// The threads that delete: as many as speed up the file system, and more while they mostly wait for it.
pub(crate) struct Deleting {
    /// `None`: one is enough, or no more can be started.
    pool: Option<ThreadPool>,
    waits: bool,
}

impl Deleting {
    /// Starts N threads for a number of files, or fewer if the user set a lower number.
    pub(crate) fn new(threads: usize, files: usize) -> Self {
        let threads = threads.min(asked().unwrap_or(threads));
        let pool = (threads > 1 && files > 64)
            .then(|| ThreadPoolBuilder::new().num_threads(threads).build())
            .and_then(Result::ok);
        Self { pool, waits: false }
    }

    /// Applies a function that changes one file to each item. The results are in the order of the items.
    pub(crate) fn each<T: Send, R: Send>(
        &mut self,
        mut items: Vec<T>,
        function: impl Fn(T) -> R + Sync + Send,
    ) -> Vec<R> {
        let first = if self.waits { items.len() } else { FIRST };
        let rest = items.split_off(first.min(items.len()));
        let mut results = self.measured(items, &function);
        if !rest.is_empty() {
            results.extend(self.measured(rest, &function));
        }
        results
    }

    /// Does it, and records whether the threads waited.
    fn measured<T: Send, R: Send>(
        &mut self,
        items: Vec<T>,
        function: &(impl Fn(T) -> R + Sync + Send),
    ) -> Vec<R> {
        let wide = self.waits.then(wide_pool).flatten();
        let pool = wide.or(self.pool.as_ref());
        let threads = pool.map_or(1, ThreadPool::current_num_threads);
        let (results, waited) = measured(items.len(), threads, || match pool {
            None => items.into_iter().map(function).collect(),
            Some(pool) => {
                // Where each file takes long, no thread gets a long run of them.
                let least = if wide.is_some() { 1 } else { 16 };
                let all = || {
                    let items = items.into_par_iter().with_min_len(least);
                    items.map(function).collect()
                };
                pool.install(all)
            }
        });
        self.waits = asked().is_none() && waited;
        results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_waited_if_reads_came_from_a_disk_or_took_long() {
        for (files, threads, microseconds, from_disks, expected) in [
            (0, 2, 50_000, 1 << 20, false),
            // From the page cache, and on a busy machine.
            (8192, 2, 41_000, 0, false),
            (8192, 2, 410_000, 4096, false),
            // From a disk.
            (128, 2, 5_000, 128 * 4096, true),
            (32, 2, 1_000, 32 * 4096, true),
            // A block of a directory.
            (32, 2, 1_000, 4096, false),
            (128, 2, 5_000, 128 * 256, true),
            (8192, 16, 164_000, 8192 * 4096, true),
            // A file system that does not count, with a millisecond for each file.
            (128, 2, 64_000, 0, true),
            (8192, 16, 512_000, 0, true),
        ] {
            let measured = Measured {
                files,
                threads,
                wall: Duration::from_micros(microseconds),
                from_disks,
            };
            assert_eq!(measured.waited(), expected, "{files} {microseconds}");
        }
    }

    #[test]
    fn deletions_are_in_order_and_use_more_threads_when_each_takes_long() {
        for (threads, files) in [(1, 3), (1, 200), (2, 200), (16, 200)] {
            let mut deleting = Deleting::new(threads, files);
            for waits in [false, true] {
                deleting.waits = waits;
                let doubled = deleting.each((0..files).collect(), |item| item * 2);
                let expected: Vec<usize> = (0..files).map(|item| item * 2).collect();
                assert_eq!(doubled, expected, "{threads} {files}");
            }
        }
        let mut deleting = Deleting::new(1, 40);
        let name = |_| {
            std::thread::sleep(FAR * 2);
            rayon::current_num_threads()
        };
        let threads = deleting.each((0..40).collect(), name);
        assert_eq!(deleting.waits, asked().is_none());
        if let (None, Some(wide)) = (asked(), wide_pool()) {
            let wide = wide.current_num_threads();
            assert!(threads[FIRST..].iter().all(|count| *count == wide));
        }
    }

    #[test]
    fn a_batch_runs_whether_threads_wait_or_not() {
        use rayon::prelude::*;

        for waited in [true, false] {
            WAITS.store(waited, Ordering::Relaxed);
            let sum: u64 = reading(1000, || (0..1000_u64).into_par_iter().sum());
            assert_eq!(sum, 499_500);
        }
    }

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, FEW, FEW + 1, 5 * FEW, AT_LEAST, 5 * AT_LEAST] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, |item| item * 2), doubled, "{count}");
            assert_eq!(read_each(&items, |item| item * 2), doubled, "{count}");
        }
    }

    #[test]
    fn a_file_that_takes_long_is_the_last_that_is_read_alone() {
        let items: Vec<usize> = (0..5 * FEW).collect();
        let caller = std::thread::current().id();
        let read_by = read_each(&items, |_| {
            std::thread::sleep(ALONE);
            std::thread::current().id()
        });
        assert!(!is_one_enough());
        // Without other threads (`use_current_thread`) this one reads everything.
        if rayon::current_thread_index().is_none() {
            assert!(read_by[ALONE_AT_ONCE..].iter().all(|id| *id != caller));
        }
    }
}
