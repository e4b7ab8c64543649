//! The one way work is spread over threads.
//!
//! A call starts threads when it has work for them, which do all that it spreads, and end with it. No pool outlives a call: what a process
//! inherits of one by `fork` has no threads in it and hangs. And no thread is started for each thing that is spread: a thread that is there
//! is woken on the core where it ran, while Linux may put a new one beside the one that started it, where it waits for 4 ms with a core idle.

use std::cell::{Cell, RefCell};
use std::iter::successors;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rayon::{Scope, ThreadBuilder, ThreadPool, ThreadPoolBuilder};

thread_local! {
    /// The threads of the call that this thread makes.
    static HELPERS: RefCell<Option<Rc<Helpers>>> = const { RefCell::new(None) };
}

/// Threads that have ended when it is gone, so that who forks after a call has none beside it.
struct Pool {
    helpers: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start(n_threads: usize) -> Option<Self> {
        let mut threads = Vec::with_capacity(n_threads);
        let start = |helper: ThreadBuilder| {
            threads.push(thread::Builder::new().spawn(|| helper.run())?);
            Ok(())
        };
        let helpers = ThreadPoolBuilder::new().num_threads(n_threads).spawn_handler(start).build().ok();
        Some(Self { helpers, threads }).filter(|pool| pool.helpers.is_some())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.helpers.take());
        self.threads.drain(..).for_each(|thread| drop(thread.join())); // what panicked in it was said where it was waited for
    }
}

/// Up to `most` threads beside the calling one, started when there is work for so many.
struct Helpers {
    most: Cell<usize>,
    pool: RefCell<Option<Rc<Pool>>>,
}

impl Helpers {
    fn new(most: usize) -> Self {
        Self { most: Cell::new(most), pool: RefCell::new(None) }
    }

    /// So many, or as many as there are to have; None where that is none.
    fn pool(&self, n_threads: usize) -> Option<Rc<Pool>> {
        let n_threads = n_threads.min(self.most.get());
        let mut pool = self.pool.borrow_mut();
        let n_before = pool.as_ref().map_or(0, |pool| pool.threads.len());
        if n_threads > n_before {
            let mut fewer = successors(Some(n_threads), |n_threads| Some(n_threads / 2)).take_while(|&n_threads| n_threads > n_before);
            *pool = fewer.find_map(Pool::start).map(Rc::new).or_else(|| pool.take());
            let n_started = pool.as_ref().map_or(0, |pool| pool.threads.len());
            if n_started < n_threads {
                self.most.set(n_started); // the system has no more: it is not asked again
            }
        }
        pool.clone().filter(|_| n_threads > 0)
    }
}

/// A call: whatever `work` spreads is for the same threads, up to `n_threads` with the calling one.
#[cfg(any(test, feature = "python"))] // who asks for one thing only has no others to share threads with
pub fn with_threads<R>(n_threads: usize, work: impl FnOnce() -> R) -> R {
    struct Restores(Option<Rc<Helpers>>);

    impl Drop for Restores {
        fn drop(&mut self) {
            HELPERS.set(self.0.take());
        }
    }

    let _restores = Restores(HELPERS.replace(Some(Rc::new(Helpers::new(n_threads.saturating_sub(1))))));
    work()
}

/// Ends the threads of the call, which has no more work for them: where the end of it comes when others wait for this thread.
#[cfg(feature = "python")]
pub fn end_threads() {
    let pool = HELPERS.with_borrow(|helpers| helpers.as_ref().and_then(|helpers| helpers.pool.take()));
    drop(pool);
}

/// `work` on the calling thread. It gets what it can start others by, of which `n_others` at a time should have threads, and they are waited
/// for; nothing where there is no thread but this one.
fn scope<'scope, R>(n_others: usize, work: impl FnOnce(Option<&Scope<'scope>>) -> R) -> R {
    if rayon::current_thread_index().is_some() {
        return rayon::in_place_scope(|scope| work(Some(scope))); // a helper, which has the others beside it
    }
    let helpers = HELPERS.with_borrow(Option::clone).unwrap_or_else(|| Rc::new(Helpers::new(n_others)));
    let pool = helpers.pool(n_others);
    match pool.as_ref().and_then(|pool| pool.helpers.as_ref()) {
        Some(helpers) => helpers.in_place_scope(|scope| work(Some(scope))),
        None => work(None),
    }
}

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
    let others = Mutex::new(Vec::new());
    let mut done = scope(n_threads - 1, |scope| {
        let run_beside = |_: &Scope<'_>| {
            let done = run();
            others.lock().unwrap_or_else(PoisonError::into_inner).extend(done);
        };
        if let Some(scope) = scope {
            (1..n_threads).for_each(|_| scope.spawn(run_beside));
        }
        run()
    });
    done.extend(others.into_inner().unwrap_or_else(PoisonError::into_inner));
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// `work` on every item, each on a thread of its own as far as there are so many; the first on the calling one.
pub fn each<I: Send>(items: Vec<I>, work: impl Fn(I) + Sync) {
    if items.len() <= 1 {
        return items.into_iter().for_each(work); // most calls are about a short document
    }
    scope(items.len() - 1, |scope| {
        let (work, mut items) = (&work, items.into_iter());
        let first = items.next();
        if let Some(scope) = scope {
            items.by_ref().for_each(|item| scope.spawn(move |_| work(item)));
        }
        first.into_iter().chain(items).for_each(work);
    });
}

/// Work that is told when the work that it runs beside is over, however that ended.
#[cfg(any(test, feature = "python"))] // only Python gives texts that have to be waited for
type Beside<'w> = Box<dyn FnOnce(&AtomicBool) + Send + 'w>;

/// `work` on the calling thread. What it gives to its argument runs on up to `n_others` threads beside it; where the system has no thread, it
/// does not run: only for what can be done without. When `work` is over, `then` is called, and then the others are waited for.
#[cfg(any(test, feature = "python"))]
pub fn beside<'w, R>(n_others: usize, work: impl FnOnce(&dyn Fn(Beside<'w>)) -> R, then: impl FnOnce()) -> R {
    struct Tells<'o>(&'o AtomicBool);

    impl Drop for Tells<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let is_over = AtomicBool::new(false);
    scope(n_others, |scope| {
        let (tells, is_over) = (Tells(&is_over), &is_over);
        let result = work(&|other| {
            if let Some(scope) = scope {
                scope.spawn(move |_| other(is_over));
            }
        });
        drop(tells);
        then();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

    /// The three threads of a call.
    fn all_meet() -> HashSet<thread::ThreadId> {
        let meeting = Barrier::new(3);
        let meet = |_| {
            meeting.wait();
            Ok::<_, ()>(thread::current().id())
        };
        HashSet::from_iter(map(3, 3, meet).unwrap_or_default())
    }

    #[test]
    fn a_call_has_the_same_threads_from_first_to_last_and_another_call_others() {
        let calls: Vec<HashSet<_>> = (0..2)
            .map(|_| {
                with_threads(3, || {
                    let threads = all_meet();
                    assert_eq!(
                        map(2, 2, |_| Ok::<_, ()>(thread::current().id())).map(|ids| threads.is_superset(&ids.into_iter().collect())),
                        Ok(true)
                    );
                    each(vec![0; 3], |_| assert!(threads.contains(&thread::current().id())));
                    beside(2, |start| start(Box::new(|_| assert!(threads.contains(&thread::current().id())))), || ());
                    assert_eq!((threads.len(), all_meet()), (3, threads.clone()));
                    threads
                })
            })
            .collect();
        assert_eq!(calls[0].intersection(&calls[1]).collect::<Vec<_>>(), [&thread::current().id()]);
    }

    #[test]
    fn no_more_threads_are_started_than_there_is_work_for_and_may_be() {
        let helpers = Helpers::new(5);
        assert!(helpers.pool(0).is_none() && helpers.pool.borrow().is_none());
        let n_started = [2, 1, 4, 9].map(|n_threads| helpers.pool(n_threads).map(|pool| pool.threads.len()));
        assert_eq!(n_started, [2, 2, 4, 5].map(Some));
        assert!(helpers.pool(0).is_none() && Helpers::new(0).pool(3).is_none());
    }

    #[test]
    fn helpers_spread_their_work_over_those_beside_them() {
        let meeting = Barrier::new(2);
        let nested = || {
            let meet = |_| {
                meeting.wait();
                Ok::<_, ()>(thread::current().id())
            };
            map(2, 2, meet)
        };
        let (callers, helpers): (HashSet<_>, HashSet<_>) = with_threads(3, || {
            let callers = Mutex::new(HashSet::new());
            beside(
                2,
                |start| {
                    start(Box::new(|_| {
                        callers.lock().unwrap_or_else(PoisonError::into_inner).extend(nested().unwrap_or_default());
                    }));
                },
                || (),
            );
            (callers.into_inner().unwrap_or_else(PoisonError::into_inner), all_meet())
        });
        assert_eq!(callers.len(), 2);
        assert!(callers.is_subset(&helpers) && !callers.contains(&thread::current().id()));
    }

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
            3,
            |start| {
                start_others(start, &sum);
                7
            },
            wait,
        );
        assert_eq!((answer, sum.load(Ordering::Relaxed)), (7, 6));
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            beside(
                3,
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
