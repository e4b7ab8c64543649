//! The one way work is spread over threads.
//!
//! Scoped threads, no pool: a pool that a process inherits by `fork` has no threads in it and hangs. Starting a thread costs tens of
//! microseconds, which a call pays once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// `work(0..n_items)` on up to `n_threads` threads, results in order. With several failures, the one of the lowest index is returned,
/// so that the answer does not depend on timing.
pub fn map<T, E, F>(n_items: usize, n_threads: usize, work: F) -> Result<Vec<T>, E>
where
    T: Send,
    E: Send,
    F: Fn(usize) -> Result<T, E> + Sync,
{
    map_with(n_items, n_threads, || (), |(), index| work(index))
}

/// The same, where each thread has something of its own, which it makes when it starts.
pub fn map_with<S, T, E, M, F>(n_items: usize, n_threads: usize, make_own: M, work: F) -> Result<Vec<T>, E>
where
    T: Send,
    E: Send,
    M: Fn() -> S + Sync,
    F: Fn(&mut S, usize) -> Result<T, E> + Sync,
{
    let n_threads = n_threads.min(n_items);
    if n_threads <= 1 {
        let mut own = make_own();
        return (0..n_items).map(|index| work(&mut own, index)).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let run = || {
        let (mut own, mut done) = (make_own(), Vec::new());
        // Items are handed out in order, so every index below a failed one is already taken and will be finished.
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= n_items {
                break;
            }
            let result = work(&mut own, index);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((index, result));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        // Where the system has no more threads to give, those that there are do the work; `spawn` would panic.
        let others: Vec<_> = (1..n_threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, run).ok()).collect();
        let mut done = run();
        for other in others {
            match other.join() {
                Ok(results) => done.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// `work` on every item, each on a thread of its own; the first, and those for which the system has no thread, on the calling one.
pub fn each<I: Send>(items: Vec<I>, work: impl Fn(I) + Sync) {
    if items.len() <= 1 {
        return items.into_iter().for_each(work); // most calls are about a short document
    }
    let slots: Vec<Mutex<Option<I>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let take = |slot: &Mutex<Option<I>>| {
        if let Some(item) = slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            work(item);
        }
    };
    let take = &take;
    thread::scope(|scope| {
        let n_started = slots.iter().skip(1).map_while(|slot| thread::Builder::new().spawn_scoped(scope, move || take(slot)).ok()).count();
        slots.iter().take(1).chain(slots.iter().skip(1 + n_started)).for_each(take);
    });
}

/// Work that is told when the work that it runs beside is over, however that ended.
#[cfg(any(test, feature = "python"))] // only Python gives texts that have to be waited for
type Beside<'w> = Box<dyn FnOnce(&AtomicBool) + Send + 'w>;

/// `work` on the calling thread. What it gives to its argument runs on threads beside it; where the system has no thread, it does not run:
/// only for what can be done without. When `work` is over, `then` is called, and then the others are waited for.
#[cfg(any(test, feature = "python"))]
pub fn beside<'w, R>(work: impl FnOnce(&dyn Fn(Beside<'w>)) -> R, then: impl FnOnce()) -> R {
    struct Tells<'o>(&'o AtomicBool);

    impl Drop for Tells<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let (tells, is_over) = (Tells(&is_over), &is_over);
        let result = work(&|other| {
            let _ = thread::Builder::new().spawn_scoped(scope, move || other(is_over));
        });
        drop(tells);
        then();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_on_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            let squares: Result<Vec<usize>, ()> = map(100, n_threads, |i| Ok(i * i));
            assert_eq!(squares, Ok((0..100).map(|i| i * i).collect()));
        }
    }

    #[test]
    fn each_item_is_worked_on_once() {
        for n_items in [0, 1, 7] {
            let sum = AtomicUsize::new(0);
            each((1..=n_items).collect(), |item: usize| {
                sum.fetch_add(item, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), n_items * (n_items + 1) / 2);
        }
    }

    #[test]
    fn what_runs_beside_is_told_of_the_end_and_waited_for() {
        fn start_others<'w>(start: &dyn Fn(Beside<'w>), sum: &'w AtomicUsize) {
            for number in 1..4 {
                start(Box::new(move |is_over| {
                    while !is_over.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    sum.fetch_add(number, Ordering::Relaxed);
                }));
            }
        }
        let sum = AtomicUsize::new(0);
        let wait = || while sum.load(Ordering::Relaxed) < 6 {};
        let answer = beside(
            |start| {
                start_others(start, &sum);
                7
            },
            wait,
        );
        assert_eq!((answer, sum.load(Ordering::Relaxed)), (7, 6));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            beside(
                |start| {
                    start_others(start, &sum);
                    unreachable!("work may panic")
                },
                || (),
            )
        }));
        assert_eq!((panicked.is_err(), sum.into_inner()), (true, 12));
    }

    #[test]
    fn the_first_failure_is_the_one_reported() {
        for n_threads in [1, 2, 7] {
            let result: Result<Vec<usize>, usize> = map(50, n_threads, |i| if i >= 20 { Err(i) } else { Ok(i) });
            assert_eq!(result, Err(20));
        }
    }
}
