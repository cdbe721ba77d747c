//! What stands for CUDA in a program that is built without it: no device can be opened, so that nothing here is ever there.

use super::GpuError;
use super::choices::Operands;
pub(crate) use super::plain::Number;
pub(super) use super::plain::{Address, ProductShape, Properties};
use std::sync::Arc;

pub(super) fn look_in(_: &std::path::Path) {}

pub(super) fn count() -> Result<usize, GpuError> {
    Err(GpuError::NotBuilt)
}

pub(super) struct Context {
    pub properties: Properties,
    never: Never,
}

#[derive(Clone, Copy)]
enum Never {}

impl Context {
    pub fn open(_: usize) -> Result<Arc<Self>, GpuError> {
        Err(GpuError::NotBuilt)
    }

    pub fn free_bytes(&self) -> Result<usize, GpuError> {
        match self.never {}
    }

    pub fn allocate(&self, _: usize) -> Result<Address, GpuError> {
        match self.never {}
    }

    pub fn free(&self, _: Address) {
        match self.never {}
    }

    pub fn pinned(self: &Arc<Self>, _: usize) -> Result<Pinned, GpuError> {
        match self.never {}
    }

    pub fn stream(self: &Arc<Self>) -> Result<Stream, GpuError> {
        match self.never {}
    }

    pub fn event(self: &Arc<Self>, _: bool) -> Result<Event, GpuError> {
        match self.never {}
    }

    pub fn module(self: &Arc<Self>, _: &[u8]) -> Result<Module, GpuError> {
        match self.never {}
    }
}

pub(super) struct Pinned(Never);

impl Pinned {
    pub fn len(&self) -> usize {
        match self.0 {}
    }

    pub fn bytes(&self) -> &[u8] {
        match self.0 {}
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self.0 {}
    }
}

pub(super) struct Stream(Never);

impl Stream {
    pub fn copy_in(&self, _: Address, _: &Pinned, _: usize) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn copy_out(&self, _: &mut Pinned, _: Address, _: usize) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn fill(&self, _: Address, _: u8, _: usize) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn wait(&self, _: &Event) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn record(&self, _: &Event) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn synchronise(&self) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn launch(
        &self,
        _: Function,
        _: [u32; 3],
        _: u32,
        _: u32,
        _: &[u8],
    ) -> Result<(), GpuError> {
        match self.0 {}
    }
}

pub(super) struct Event(Never);

impl Event {
    pub fn wait(&self) -> Result<(), GpuError> {
        match self.0 {}
    }

    pub fn seconds_since(&self, _: &Self) -> Result<f64, GpuError> {
        match self.0 {}
    }
}

#[derive(Clone, Copy)]
pub(super) struct Function(Never);

pub(super) struct Module(Never);

impl Module {
    pub fn function(&self, _: &str, _: usize) -> Result<Function, GpuError> {
        match self.0 {}
    }
}

pub(super) fn compile(
    _: &'static str,
    _: &str,
    _: &str,
    _: &[String],
) -> Result<Vec<u8>, GpuError> {
    Err(GpuError::NotBuilt)
}

pub(super) fn compiler_version() -> String {
    String::new()
}

pub(super) struct Products(Never);

pub(super) struct Prepared;

impl Prepared {
    pub fn algorithm(&self) -> String {
        String::new()
    }

    pub fn rows(&self) -> usize {
        0
    }
}

impl Products {
    pub fn new(context: &Arc<Context>) -> Result<Self, GpuError> {
        match context.never {}
    }

    pub fn version() -> usize {
        0
    }

    pub fn prepare(&self, _: ProductShape, _: usize) -> Result<Prepared, GpuError> {
        match self.0 {}
    }

    pub fn prepare_like(
        &self,
        _: ProductShape,
        _: usize,
        _: &Prepared,
    ) -> Result<Prepared, GpuError> {
        match self.0 {}
    }

    pub fn candidates(&self, _: ProductShape, _: usize) -> Result<Vec<Prepared>, GpuError> {
        match self.0 {}
    }

    pub fn run(
        &self,
        _: &Prepared,
        _: &Stream,
        _: Operands,
        _: (Address, usize),
    ) -> Result<(), GpuError> {
        match self.0 {}
    }
}
