//! Memory on a machine: words of four bytes under a shape, freed with the last handle.

use crate::clock;
use crate::error::Result;
use std::any::Any;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

/// Words of four bytes, wherever a machine keeps them.
pub trait Memory: Any {
    /// Writes words from index `at` on; the next run sees them, the last one does not.
    fn write(&self, at: usize, words: &[u32]);

    /// Takes some words as they are after everything run so far.
    fn read(&self, words: Range<usize>) -> Readback;

    /// Takes a few words only: they arrive when everything run so far is done.
    fn probe(&self) -> Readback;
}

/// A handle to memory on a machine. Clones name the same memory.
#[derive(Clone)]
pub struct Tensor(Rc<Inner>);

struct Inner {
    label: String,
    shape: Vec<usize>,
    memory: Box<dyn Memory>,
}

impl Tensor {
    /// A handle to this memory, which has as many words as the shape.
    pub fn new(label: String, shape: &[usize], memory: impl Memory) -> Tensor {
        Tensor(Rc::new(Inner { label, shape: shape.to_vec(), memory: Box::new(memory) }))
    }

    /// The name in prints and errors.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// Row-major, last index fastest.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Whether two handles name the same memory.
    pub fn same_as(&self, other: &Tensor) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The memory, for the machine that made it.
    ///
    /// # Panics
    /// If another machine made it.
    pub fn memory<M: Memory>(&self) -> &M {
        let memory: &dyn Any = &*self.0.memory;
        memory.downcast_ref().unwrap_or_else(|| panic!("{}: lives on another machine", self.0.label))
    }

    /// Writes words from index `at` on; the next run sees them, the last one does not.
    pub fn write(&self, at: usize, words: &[u32]) {
        self.0.memory.write(at, words);
    }

    /// Writes reals from index 0 on.
    pub fn write_f32(&self, values: &[f32]) {
        self.write(0, bytemuck::cast_slice(values));
    }

    /// Takes the content as it is after everything run so far; await it now or later.
    pub fn read(&self) -> Readback {
        self.read_range(0..self.len())
    }

    /// Takes some words of the content; otherwise as [`Tensor::read`].
    ///
    /// # Panics
    /// If there are not so many words.
    pub fn read_range(&self, words: Range<usize>) -> Readback {
        assert!(words.end <= self.len(), "{}: words {words:?} of {}", self.label(), self.len());
        self.0.memory.read(words)
    }

    /// The number of words: each is an `f32` or a `u32`.
    pub(crate) fn len(&self) -> usize {
        self.0.shape.iter().product()
    }

    /// Returns when everything run so far is done.
    ///
    /// # Errors
    /// `Device` if the device was lost or reported an error.
    pub async fn sync(&self) -> Result<()> {
        self.0.memory.probe().words().await.map(|_| ())
    }
}

/// A tensor's content on its way to the caller.
pub struct Readback(Pin<Box<dyn Future<Output = Result<Content>>>>);

/// What was read, and when it was there.
pub struct Content {
    /// The words that were asked for.
    pub words: Vec<u32>,
    /// When everything before was done, in seconds of [`clock::seconds`].
    pub at: f64,
}

impl Readback {
    /// Content that arrives later.
    pub fn new(content: impl Future<Output = Result<Content>> + 'static) -> Readback {
        Readback(Box::pin(content))
    }

    /// Content that is here.
    pub fn ready(words: Vec<u32>) -> Readback {
        Readback::new(std::future::ready(Ok(Content { words, at: clock::seconds() })))
    }

    /// The content, and when it was there.
    ///
    /// # Errors
    /// `Device` if the device was lost or reported an error.
    pub async fn content(self) -> Result<Content> {
        self.0.await
    }

    /// The content as words.
    ///
    /// # Errors
    /// As [`Readback::content`].
    pub async fn words(self) -> Result<Vec<u32>> {
        Ok(self.content().await?.words)
    }

    /// The content as reals.
    ///
    /// # Errors
    /// As [`Readback::content`].
    pub async fn f32(self) -> Result<Vec<f32>> {
        Ok(bytemuck::cast_vec(self.words().await?))
    }
}
