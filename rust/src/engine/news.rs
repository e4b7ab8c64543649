//! What readers tell each other of words. Threads that read one text would each read all of its words once, and in the first text of a kind
//! that is half of what a second thread does more than one alone.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cache::{Inline, Key};

/// No more is told after so many words: 2 MiB. The words of a language that come at all often are among them.
const MOST_WORDS: usize = 1 << 16;

/// Words with their tokens, in the order in which they were told.
#[derive(Debug, Default)]
pub struct News {
    words: Mutex<Vec<(Key, Inline)>>,
    /// How many there are, for those who come to see whether there is anything to hear: most of the time there is not.
    count: AtomicUsize,
}

impl News {
    /// Tells these words, and gives those that others told after the first `n_heard`, which becomes the number of all. Never waits: what
    /// cannot be told now stays for the next time.
    pub fn exchange(&self, untold: &mut Vec<(Key, Inline)>, n_heard: &mut usize) -> Vec<(Key, Inline)> {
        let count = self.count.load(Ordering::Relaxed);
        untold.truncate(MOST_WORDS - count);
        if untold.is_empty() && *n_heard == count {
            return Vec::new();
        }
        let Ok(mut words) = self.words.try_lock() else { return Vec::new() };
        let others = words[*n_heard..].to_vec();
        let n_told = untold.len().min(MOST_WORDS - words.len());
        words.extend(untold.drain(..).take(n_told));
        *n_heard = words.len();
        self.count.store(words.len(), Ordering::Relaxed);
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: usize) -> (Key, Inline) {
        (number as Key + 1, [number as u32, 0, 0, 1 << 28])
    }

    #[test]
    fn each_hears_what_others_told_once_and_in_order() {
        let (news, mut heard) = (News::default(), [0; 2]);
        assert_eq!(news.exchange(&mut vec![word(1), word(2)], &mut heard[0]), []);
        assert_eq!(news.exchange(&mut vec![word(3)], &mut heard[1]), [word(1), word(2)]);
        assert_eq!(news.exchange(&mut Vec::new(), &mut heard[1]), []);
        assert_eq!(news.exchange(&mut Vec::new(), &mut heard[0]), [word(3)]);
        assert_eq!(news.exchange(&mut Vec::new(), &mut 0), [word(1), word(2), word(3)]);
    }

    #[test]
    fn what_cannot_be_told_now_stays_and_what_is_too_much_does_not() {
        let (news, mut untold, mut heard) = (News::default(), vec![word(1)], 0);
        let held = news.words.lock();
        assert_eq!((news.exchange(&mut untold, &mut heard), heard), (vec![], 0));
        let mut many: Vec<_> = (0..2 * MOST_WORDS).map(word).collect();
        assert_eq!((news.exchange(&mut many, &mut heard), many.len()), (vec![], MOST_WORDS), "nobody may ever let go of it");
        drop(held);
        assert_eq!((news.exchange(&mut untold, &mut heard), heard, untold.len()), (vec![], 1, 0));
        assert_eq!((news.exchange(&mut many, &mut heard), heard, many.len()), (vec![], MOST_WORDS, 0));
        assert_eq!((news.exchange(&mut vec![word(7)], &mut heard), heard), (vec![], MOST_WORDS));
    }
}
