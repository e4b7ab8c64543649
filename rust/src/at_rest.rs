//! What threads work with, between one piece of work and the next.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

thread_local! {
    /// Threads are counted as they come here.
    static THREAD_NUMBER: usize = {
        static N_THREADS: AtomicUsize = AtomicUsize::new(0);
        N_THREADS.fetch_add(1, Ordering::Relaxed)
    };
}

/// Up to `N` things that no thread uses. Each has a place with a lock of its own: one thread that comes by when another does loses nothing,
/// and nobody waits. After a fork a lock may be held by a thread that is no more; its place is lost, and no other.
#[derive(Debug)]
pub struct AtRest<T, const N: usize>(Box<[Place<T>; N]>);

/// In cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Place<T>(Mutex<Option<T>>);

impl<T, const N: usize> Default for AtRest<T, N> {
    fn default() -> Self {
        Self(Box::new(std::array::from_fn(|_| Place(Mutex::new(None)))))
    }
}

impl<T: Default, const N: usize> AtRest<T, N> {
    /// What this thread put here last, if it is still there: that is in the cache of its core. Else what another one did, else a new one.
    pub fn take(&self) -> T {
        self.take_kept().unwrap_or_default()
    }

    fn take_kept(&self) -> Option<T> {
        self.find(Option::take)
    }

    /// For who comes next; where all places are taken, it is let go.
    pub fn put(&self, thing: T) {
        let mut thing = Some(thing);
        self.find(|place| {
            let is_free = place.is_none();
            if is_free {
                *place = thing.take();
            }
            is_free.then_some(())
        });
    }

    /// The first answer of a place, from this thread's own on.
    fn find<R>(&self, mut ask: impl FnMut(&mut Option<T>) -> Option<R>) -> Option<R> {
        let own = Self::own_place();
        (own..N).chain(0..own).find_map(|at| ask(&mut *self.0[at].0.try_lock().ok()?))
    }

    fn own_place() -> usize {
        THREAD_NUMBER.with(|number| number % N)
    }
}

/// The same for things that get better by use: what one of them has learned, new ones can start with.
#[derive(Debug)]
pub struct Learned<T, const N: usize> {
    at_rest: AtRest<T, N>,
    /// To be copied, and by how many threads.
    pattern: Mutex<Option<(Arc<T>, usize)>>,
}

impl<T, const N: usize> Default for Learned<T, N> {
    fn default() -> Self {
        Self { at_rest: AtRest::default(), pattern: Mutex::new(None) }
    }
}

impl<T: Default + Clone, const N: usize> Learned<T, N> {
    /// As [`AtRest::take`]; a copy of the pattern, where there is one and nothing else.
    pub fn take(&self) -> T {
        self.at_rest.take_kept().or_else(|| self.copy()).unwrap_or_default()
    }

    /// As [`AtRest::put`].
    pub fn put(&self, thing: T) {
        self.at_rest.put(thing);
    }

    /// So many threads are about to come. Where less is here, one thing becomes a pattern: each thread that finds nothing else copies it
    /// itself, at the same time as the others.
    pub fn share(&self, n_threads: usize) {
        let kept: Vec<T> = (0..n_threads).map_while(|_| self.at_rest.take_kept()).collect();
        let n_missing = n_threads - kept.len();
        let mut kept = kept.into_iter();
        if n_missing > 0
            && let Some(thing) = kept.next()
            && let Ok(mut pattern) = self.pattern.try_lock()
        {
            *pattern = Some((Arc::new(thing), n_missing + 1));
        }
        kept.for_each(|thing| self.put(thing));
    }

    fn copy(&self) -> Option<T> {
        let mut pattern = self.pattern.try_lock().ok()?;
        let (thing, n_copies) = pattern.take()?;
        if n_copies > 1 {
            *pattern = Some((Arc::clone(&thing), n_copies - 1));
        }
        drop(pattern);
        Some(Arc::unwrap_or_clone(thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    #[test]
    fn a_thread_gets_back_what_it_put_and_another_one_what_is_left() {
        let at_rest = AtRest::<Vec<u32>, 64>::default();
        let both_took = Barrier::new(2);
        thread::scope(|scope| {
            for own in 1..3 {
                let (at_rest, both_took) = (&at_rest, &both_took);
                scope.spawn(move || {
                    let new = at_rest.take();
                    both_took.wait();
                    assert_eq!(new, Vec::<u32>::new());
                    at_rest.put(vec![own]);
                    both_took.wait();
                    assert_eq!(at_rest.take(), [own]);
                    both_took.wait();
                    at_rest.put(vec![own]);
                });
            }
        });
        let mut left = [at_rest.take(), at_rest.take(), at_rest.take()];
        left.sort();
        assert_eq!(left, [vec![], vec![1], vec![2]]);
    }

    #[test]
    fn nothing_is_lost_where_many_threads_take_and_put_at_once() {
        let at_rest = AtRest::<usize, 64>::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|_| at_rest.put(at_rest.take() + 1)));
            }
        });
        assert_eq!((0..64).map(|_| at_rest.take()).sum::<usize>(), 80_000);
    }

    #[test]
    fn a_lock_that_is_never_let_go_costs_its_place_only() {
        let at_rest = AtRest::<usize, 64>::default();
        at_rest.put(7);
        let held = at_rest.0[AtRest::<usize, 64>::own_place()].0.lock();
        assert_eq!(at_rest.take(), 0);
        at_rest.put(5);
        assert_eq!(at_rest.take(), 5);
        drop(held);
        assert_eq!((at_rest.take(), at_rest.take()), (7, 0));
    }

    #[test]
    fn threads_that_find_nothing_copy_what_is_shared() {
        let learned = Learned::<Vec<u32>, 8>::default();
        let put_both = || [vec![1], vec![2]].map(|one| learned.put(one));
        learned.share(3);
        assert!(learned.take().is_empty(), "there was nothing to share");
        learned.put(vec![1]);
        learned.share(3);
        assert_eq!([learned.take(), learned.take(), learned.take(), learned.take()], [vec![1], vec![1], vec![1], vec![]]);
        put_both();
        learned.share(2);
        let mut both = [learned.take(), learned.take()];
        both.sort();
        assert_eq!((both, learned.take()), ([vec![1], vec![2]], vec![]), "each thread has one already");
        put_both();
        learned.share(3);
        let mut all = [learned.take(), learned.take(), learned.take()].concat();
        all.sort_unstable();
        assert!(all == [1, 1, 2] || all == [1, 2, 2]);
        assert!(learned.take().is_empty());
    }

    #[test]
    fn what_there_is_no_place_for_is_let_go() {
        let at_rest = AtRest::<usize, 5>::default();
        (1..=8).for_each(|thing| at_rest.put(thing));
        let all: Vec<usize> = (0..8).map(|_| at_rest.take()).collect();
        assert_eq!(all.iter().filter(|&&thing| thing == 0).count(), 3);
    }
}
