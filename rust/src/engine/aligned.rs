//! Text that a normalizer made of a word, with what each of its characters stands for.

/// Start and end in the word, in bytes.
pub type Span = (u32, u32);

/// What the characters of a word stand for in itself.
pub fn spans(word: &str) -> impl Iterator<Item = Span> {
    word.char_indices().map(|(at, character)| (at as u32, (at + character.len_utf8()) as u32))
}

/// A word as the model sees it.
#[derive(Debug, Default)]
pub struct Aligned {
    /// The text.
    pub text: String,
    /// For every character of it, the characters of the word that it stands for.
    pub spans: Vec<Span>,
}

impl Aligned {
    /// No text, with room for so many bytes.
    pub fn with_capacity(n_bytes: usize) -> Self {
        Self { text: String::with_capacity(n_bytes), spans: Vec::with_capacity(n_bytes) }
    }

    pub fn push(&mut self, character: char, span: Span) {
        self.text.push(character);
        self.spans.push(span);
    }

    /// What pieces of the text stand for, piece by piece from its start on.
    pub fn pieces(&self) -> Pieces<'_> {
        Pieces { text: self.text.as_bytes(), at: 0, rest: &self.spans }
    }
}

impl FromIterator<(char, Span)> for Aligned {
    fn from_iter<I: IntoIterator<Item = (char, Span)>>(characters: I) -> Self {
        let (text, spans) = characters.into_iter().unzip();
        Self { text, spans }
    }
}

/// Pieces that follow one another; one may end inside a character, which is then in two of them.
#[derive(Debug)]
pub struct Pieces<'a> {
    text: &'a [u8],
    at: usize,
    /// Of the characters from that of the next byte on.
    rest: &'a [Span],
}

impl<'a> Pieces<'a> {
    /// The bytes of the next piece, which has so many of them, and what it stands for.
    pub fn next(&mut self, n_bytes: usize) -> (&'a [u8], Span) {
        let piece = &self.text[self.at..self.at + n_bytes];
        self.at += n_bytes;
        let is_start = |byte: &u8| *byte as i8 >= -0x40;
        let n_later = piece.iter().skip(1).filter(|byte| is_start(byte)).count();
        let span = (self.rest[0].0, self.rest[n_later].1);
        let n_done = n_later + usize::from(self.text.get(self.at).is_some_and(is_start));
        self.rest = &self.rest[n_done..];
        (piece, span)
    }
}
