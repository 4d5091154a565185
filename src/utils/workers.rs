//! Background work on threads that exist only while there is some: a burst gets several, an idle process has none.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// Size of a worker's stack: tree walks and JSON documents, no deep recursion.
const STACK: usize = 128 * 1024;
/// How long a worker waits for more before it ends.
const LINGER: Duration = Duration::from_secs(2);

/// A bounded set of threads. Dropped, it lets running jobs end by themselves.
pub struct Workers {
    shared: Arc<Shared>,
    name: &'static str,
    most: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Workers {
    /// At most `most` threads of this name (15 bytes at most).
    pub fn new(name: &'static str, most: usize) -> Workers {
        let shared = Arc::new(Shared { queue: Mutex::default(), work: Condvar::new(), drained: Condvar::new() });
        Workers { shared, name, most: most.max(1) }
    }

    /// Queues one job. When no thread can be made and none runs, the job runs here and now.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(Box::new(job));
        if queue.idle >= queue.jobs.len() || queue.threads == self.most {
            self.shared.work.notify_one();
            return;
        }
        queue.threads += 1;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let spawned = std::thread::Builder::new().name(self.name.into()).stack_size(STACK).spawn(move || shared.work());
        if let Err(e) = spawned {
            log::warn!("cannot start a {} thread: {e}", self.name);
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.threads -= 1;
            let job = if queue.threads == 0 { queue.jobs.pop_front() } else { None };
            drop(queue);
            if let Some(job) = job {
                job();
            }
        }
    }

    /// Waits until everything queued so far and since is done.
    pub fn drain(&self, limit: Duration) {
        let deadline = std::time::Instant::now() + limit;
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while !(queue.jobs.is_empty() && queue.idle == queue.threads) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return;
            }
            queue = self.shared.drained.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.idle += 1;
            self.drained.notify_all();
            let (held, waited) = self.work.wait_timeout(queue, LINGER).unwrap_or_else(PoisonError::into_inner);
            queue = held;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                queue.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_job_runs_and_the_number_of_threads_is_bounded() {
        let workers = Workers::new("test", 3);
        let (done, now, most) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..40 {
            let (done, now, most) = (Arc::clone(&done), Arc::clone(&now), Arc::clone(&most));
            workers.submit(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
                now.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        workers.drain(Duration::from_secs(10));
        assert_eq!(done.load(Ordering::SeqCst), 40);
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }
}
