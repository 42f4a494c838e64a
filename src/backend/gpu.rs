//! The GPU's side: buffers, pipelines, and plans recorded as bind groups; a run is as many submits as its
//! length asks for, an encoder and a pass each.
//!
//! The device is opened with WebGPU's default limits everywhere, so what works natively works in every browser.

use super::account::{Account, Taken};
use super::control::{Control, cancelled};
use super::pace::Pace;
use super::readback::{Encoded, Ring};
use crate::error::{Error, Result};
use crate::kernel::Operation;
use crate::plan::{Kernel, Plan, Role, Slab, Step};
use crate::tensor::{Memory, Readback, Tensor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// `minUniformBufferOffsetAlignment` of WebGPU's default limits: one slot of the params arena, in bytes.
const PARAMS_SLOT: usize = 256;

/// Bytes that no device has: asking for more would only cost time.
const NO_DEVICE_HAS: u64 = 1 << 40;

/// A device and its compiled kernels. Clones name the same device.
#[derive(Clone)]
pub struct Gpu(Rc<Inner>);

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    /// What the device reported first; that it is lost counts more than what came before.
    trouble: Arc<Mutex<Option<Trouble>>>,
    pipelines: RefCell<HashMap<(&'static str, &'static str), Rc<Pipeline>>>,
    account: Account,
    ring: Ring,
    pace: Pace,
    /// Kernels whose text is changed, and how.
    broken: RefCell<HashMap<&'static str, [String; 2]>>,
}

/// Why a device is of no more use.
#[derive(Clone)]
struct Trouble {
    text: String,
    /// Whether another device may do the same work.
    lost: bool,
}

struct Pipeline {
    raw: wgpu::ComputePipeline,
    args: wgpu::BindGroupLayout,
    weight: Option<wgpu::BindGroupLayout>,
}

impl Gpu {
    /// Opens the best adapter there is, at WebGPU's default limits.
    pub(super) async fn open() -> Result<Gpu> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await.map_err(no_adapter)?;
        let info = adapter.get_info();
        let descriptor = wgpu::DeviceDescriptor { label: Some("webreft"), ..Default::default() };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|error| Error::device(format!("adapter \"{}\" gives no device: {error}", info.name)))?;
        let trouble = watch(&device);
        let (pipelines, account) = (RefCell::default(), Account::default());
        let (ring, pace, broken) = (Ring::default(), Pace::default(), RefCell::default());
        Ok(Gpu(Rc::new(Inner { device, queue, info, trouble, pipelines, account, ring, pace, broken })))
    }

    pub(super) fn name(&self) -> String {
        let info = &self.0.info;
        let parts = [info.name.as_str(), info.driver.as_str()];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { "unnamed GPU".to_owned() } else { parts.join(", ") }
    }

    /// Whether the adapter is a program on the CPU, by what it says of itself or by its name.
    pub(super) fn is_software(&self) -> bool {
        let name = self.name().to_lowercase();
        let named = ["llvmpipe", "lavapipe", "swiftshader"].iter().any(|software| name.contains(software));
        named || self.0.info.device_type == wgpu::DeviceType::Cpu
    }

    pub(super) fn max_tensor_bytes(&self) -> u64 {
        let limits = self.0.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    pub(super) fn account(&self) -> &Account {
        &self.0.account
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.0.ring
    }

    /// Natively returns when a submit is done, whatever was submitted after it; in a browser returns at once.
    pub(super) fn wait(&self, submit: &wgpu::SubmissionIndex) -> Result<()> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submit.clone()), timeout: None };
        let Err(error) = self.0.device.poll(wait) else { return Ok(()) };
        // A lost device does not know the submit, and says that it is lost when it is polled.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        self.check()?;
        Err(Error::device(format!("the GPU does not answer: {error}")))
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.0.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// Submits that were longer than a device should be held for, because one step of theirs was.
    pub fn long_submits(&self) -> u64 {
        self.0.pace.n_long()
    }

    /// Replaces a part of a kernel's shader, wherever its text has that part, from the next plan on, and mends what was replaced before:
    /// for tests of what is noticed.
    pub fn break_kernel(&self, kernel: &'static str, from: &str, to: &str) {
        let broken = HashMap::from([(kernel, [from.to_owned(), to.to_owned()])]);
        let before = self.0.broken.replace(broken);
        self.0.pipelines.borrow_mut().retain(|(name, _), _| *name != kernel && !before.contains_key(name));
    }

    /// A kernel's whole text, as it is compiled.
    fn text(&self, operation: &Operation, weight: Option<&Slab>) -> String {
        let text = operation.text(weight.map(|slab| slab.format));
        match self.0.broken.borrow().get(operation.kernel.name) {
            Some([from, to]) => text.replacen(from, to, 1),
            None => text,
        }
    }

    /// Sets how many operations a second the device is believed to do, until more is measured: for tests of short submits.
    pub fn believe(&self, operations_a_second: f64) {
        self.0.pace.believe(operations_a_second);
    }

    /// Ends the device, as a browser or driver may at any time: for tests of what happens then.
    pub fn lose(&self) {
        self.0.device.destroy();
    }

    /// The device's own handle, for measuring it.
    pub fn raw(&self) -> (&wgpu::Device, &wgpu::Queue) {
        (&self.0.device, &self.0.queue)
    }

    pub(super) fn tensor(&self, label: String, shape: &[usize]) -> Result<Tensor> {
        let buffer = self.buffer(&label, shape.iter().product())?;
        Ok(Tensor::new(label, shape, buffer))
    }

    fn buffer(&self, label: &str, len: usize) -> Result<GpuBuffer> {
        let size = buffer_bytes(label, len, self.max_tensor_bytes())?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        Ok(self.counted(label, size, usage))
    }

    /// A buffer that is counted, and destroyed when it is dropped.
    fn counted(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> GpuBuffer {
        let raw = self.create_buffer(label, size, usage);
        GpuBuffer { raw, gpu: self.clone(), _taken: self.0.account.take(size) }
    }

    pub(super) fn create_buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let label = Some(label);
        self.0.device.create_buffer(&wgpu::BufferDescriptor { label, size, usage, mapped_at_creation: false })
    }

    /// Whether so many bytes can be taken, by taking them for a moment. Drivers may promise more than they have; none can be asked.
    pub(super) async fn has_room(&self, bytes: u64) -> Result<bool> {
        self.check()?;
        if bytes > NO_DEVICE_HAS {
            return Ok(false);
        }
        let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let most = self.0.device.limits().max_buffer_size;
        let sizes = (0..bytes).step_by(most as usize).map(|start| (bytes - start).min(most));
        let buffers = sizes
            .map(|size| self.create_buffer("room", size.next_multiple_of(4), wgpu::BufferUsages::STORAGE));
        let buffers: Vec<wgpu::Buffer> = buffers.collect();
        let refused = scope.pop().await;
        buffers.iter().for_each(wgpu::Buffer::destroy);
        Ok(refused.is_none())
    }

    pub(super) fn check(&self) -> Result<()> {
        self.trouble().map_or(Ok(()), |trouble| Err(Error::device(trouble.text)))
    }

    /// Whether the device was lost, so that its work can be done on another one.
    pub(super) fn is_lost(&self) -> bool {
        self.trouble().is_some_and(|trouble| trouble.lost)
    }

    /// Whether the device is of no more use: it was lost, ran out of memory, or refused a command.
    pub(super) fn is_broken(&self) -> bool {
        self.trouble().is_some()
    }

    fn trouble(&self) -> Option<Trouble> {
        let trouble = || self.0.trouble.lock().expect("no panic while it is held").clone();
        trouble()?;
        // A lost device refuses commands first and says that it is lost when it is polled; that is what counts.
        let _ = self.0.device.poll(wgpu::PollType::Poll);
        trouble()
    }

    /// Notes that a readback failed: what the device computes can be had no more.
    pub(super) fn drop_readback(&self, why: &str) -> Error {
        let text = format!("the GPU gave no readback: {why}; load the model again");
        let trouble = Trouble { text: text.clone(), lost: true };
        self.0.trouble.lock().expect("no panic while it is held").get_or_insert(trouble);
        self.check().err().unwrap_or_else(|| Error::device(text))
    }

    /// Compiles the plan's kernels and binds its buffers.
    pub(super) fn record(
        &self,
        plan: &Plan,
        operations: &[&'static Operation],
        tensors: &[Tensor],
    ) -> Recorded {
        let params = self.params_arena(plan);
        let steps = plan.steps().iter().zip(operations);
        let steps = steps
            .map(|(step, operation)| self.record_step(plan, step, operation, tensors, &params.raw))
            .collect();
        Recorded { steps, _params: params }
    }

    fn record_step(
        &self,
        plan: &Plan,
        step: &Step,
        operation: &Operation,
        tensors: &[Tensor],
        params: &wgpu::Buffer,
    ) -> RecordedStep {
        let pipeline = self.pipeline(operation, step.weight.as_ref());
        let size = wgpu::BufferSize::new(params_bytes(&operation.kernel));
        let uniform = wgpu::BufferBinding { buffer: params, offset: 0, size };
        let args = step.args.iter().map(|buf| binding(&tensors[buf.index()]));
        let args = std::iter::once(wgpu::BindingResource::Buffer(uniform)).chain(args).collect();
        let args = self.bind(&pipeline.args, args);
        let weight = step.weight.as_ref().zip(pipeline.weight.as_ref()).map(|(slab, layout)| {
            let sections = std::iter::once(&slab.qs).chain(&slab.scales);
            self.bind(layout, sections.map(binding).collect())
        });
        let (grid, work) = (fold(operation.kernel.name, step.grid), step.work(plan));
        RecordedStep { pipeline, args, weight, grid, work }
    }

    fn bind(
        &self,
        layout: &wgpu::BindGroupLayout,
        resources: Vec<wgpu::BindingResource<'_>>,
    ) -> wgpu::BindGroup {
        let entries =
            (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource });
        let entries: Vec<_> = entries.collect();
        self.0.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// All steps' `Params` and after them the lines of their grids, one slot each: they never change from run to run.
    fn params_arena(&self, plan: &Plan) -> GpuBuffer {
        let mut arena = vec![0u8; params_arena_bytes(plan)];
        for (slot, step) in arena.chunks_exact_mut(PARAMS_SLOT).zip(plan.steps()) {
            let lines = u32::try_from(step.grid[1]).expect("a grid fits 32 bits");
            let words: Vec<u32> = step.params.iter().copied().chain([lines]).collect();
            slot[..4 * words.len()].copy_from_slice(bytemuck::cast_slice(&words));
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = self.counted("params", arena.len() as u64, usage);
        self.0.queue.write_buffer(&buffer.raw, 0, &arena);
        buffer
    }

    fn pipeline(&self, operation: &Operation, weight: Option<&Slab>) -> Rc<Pipeline> {
        let key = (operation.kernel.name, weight.map_or("", |slab| slab.format.name));
        if let Some(pipeline) = self.0.pipelines.borrow().get(&key) {
            return pipeline.clone();
        }
        let pipeline = Rc::new(self.compile(operation, weight));
        self.0.pipelines.borrow_mut().insert(key, pipeline.clone());
        pipeline
    }

    /// Compiles a kernel, and returns when the device has done so.
    pub(super) async fn compiled(&self, operation: &Operation, weight: Option<&Slab>) -> Result<()> {
        let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::Validation);
        self.pipeline(operation, weight);
        match scope.pop().await {
            None => self.check(),
            Some(error) => {
                let name = operation.kernel.name;
                Err(Error::device(format!(
                    "the GPU refuses the kernel {name}: {error}; use the CPU or another driver"
                )))
            }
        }
    }

    fn compile(&self, operation: &Operation, weight: Option<&Slab>) -> Pipeline {
        let device = &self.0.device;
        let kernel = &operation.kernel;
        let text = self.text(operation, weight);
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let label = Some(kernel.name);
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let params = params_bytes(kernel);
        let roles = kernel.args.iter().map(|arg| storage(arg.role == Role::In));
        let args = self.layout(std::iter::once(uniform(params)).chain(roles));
        let weight =
            weight.map(|slab| self.layout((0..=slab.scales.iter().len()).map(|_| storage(true)).take(2)));
        let groups: Vec<_> = std::iter::once(&args).chain(&weight).map(Some).collect();
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &groups,
            immediate_size: 0,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Pipeline { raw, args, weight }
    }

    fn layout(&self, types: impl Iterator<Item = wgpu::BindingType>) -> wgpu::BindGroupLayout {
        let visibility = wgpu::ShaderStages::COMPUTE;
        let entries = (0..).zip(types);
        let entries =
            entries.map(|(binding, ty)| wgpu::BindGroupLayoutEntry { binding, visibility, ty, count: None });
        let entries: Vec<_> = entries.collect();
        let descriptor = wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries };
        self.0.device.create_bind_group_layout(&descriptor)
    }

    /// Submits all steps without waiting.
    pub(super) fn run(&self, recorded: &Recorded) -> Result<()> {
        self.check()?;
        let mut next = 0;
        while next < recorded.steps.len() {
            let steps = self.next_submit(recorded, next);
            next = steps.end;
            self.submit(recorded, steps, &[]);
        }
        Ok(())
    }

    /// Submits all steps in submits of bounded length, never more than two ahead of the device. `reads` are read in the last one.
    pub(super) async fn run_with(
        &self,
        plan: &Plan,
        recorded: &Recorded,
        reads: &[&Tensor],
        control: &dyn Control,
    ) -> Result<Vec<Readback>> {
        let total: u64 = recorded.steps.iter().map(|step| step.work).sum();
        let (mut next, mut submitted) = (0, 0);
        loop {
            self.wait_for_room().await;
            self.check()?;
            let done = submitted - self.0.pace.in_flight().min(submitted);
            control.progress(done as f64 / total.max(1) as f64);
            if plan.may_end_before(next) && control.cancelled() {
                return Err(cancelled());
            }
            let steps = self.next_submit(recorded, next);
            next = steps.end;
            submitted += recorded.work(steps.clone());
            match next == recorded.steps.len() {
                true => return Ok(self.submit(recorded, steps, reads)),
                false => drop(self.submit(recorded, steps, &[])),
            }
        }
    }

    /// Returns when one more submit may be in flight.
    async fn wait_for_room(&self) {
        let pace = &self.0.pace;
        while let Some(first) = pace.first() {
            // If the wait fails, the device has reported why.
            pace.wait(first, |index| drop(self.wait(index))).await;
        }
    }

    /// The steps of the submit that begins with step `next`.
    fn next_submit(&self, recorded: &Recorded, next: usize) -> Range<usize> {
        let rest = &recorded.steps[next..];
        next..(next + self.0.pace.cut(rest.iter().map(|step| step.work))).min(recorded.steps.len())
    }

    /// Encodes some steps into one pass, then the copies of what is read, and submits both.
    fn submit(&self, recorded: &Recorded, steps: Range<usize>, reads: &[&Tensor]) -> Vec<Readback> {
        let mut encoder = self.encoder();
        self.encode(recorded, steps.clone(), &mut encoder);
        let copies: Vec<Encoded> = reads
            .iter()
            .map(|tensor| {
                let words = 0..tensor.shape().iter().product();
                Encoded::copy(self, &mut encoder, &tensor.memory::<GpuBuffer>().raw, words)
            })
            .collect();
        let index = self.0.queue.submit([encoder.finish()]);
        self.0.pace.submitted(&self.0.queue, index.clone(), recorded.work(steps));
        copies.into_iter().map(|copy| copy.submitted(self, index.clone())).collect()
    }

    fn encode(&self, recorded: &Recorded, steps: Range<usize>, encoder: &mut wgpu::CommandEncoder) {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (number, step) in steps.clone().zip(&recorded.steps[steps]) {
            let slot = u32::try_from(number * PARAMS_SLOT).expect("the arena is small");
            pass.set_pipeline(&step.pipeline.raw);
            pass.set_bind_group(0, &step.args, &[slot]);
            if let Some(weight) = &step.weight {
                pass.set_bind_group(1, weight, &[]);
            }
            let [x, y, z] = step.grid;
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

fn binding(tensor: &Tensor) -> wgpu::BindingResource<'_> {
    tensor.memory::<GpuBuffer>().raw.as_entire_binding()
}

fn no_adapter(error: wgpu::RequestAdapterError) -> Error {
    Error::device(format!(
        "no WebGPU adapter: {error}; use a browser with WebGPU turned on, or natively install a Vulkan, Metal or DX12 driver"
    ))
}

fn uniform(size: u64) -> wgpu::BindingType {
    let ty = wgpu::BufferBindingType::Uniform;
    wgpu::BindingType::Buffer { ty, has_dynamic_offset: true, min_binding_size: wgpu::BufferSize::new(size) }
}

fn storage(read_only: bool) -> wgpu::BindingType {
    let ty = wgpu::BufferBindingType::Storage { read_only };
    wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None }
}

/// Notes the first thing that the device reports on its own; that it is lost counts more than what came before.
fn watch(device: &wgpu::Device) -> Arc<Mutex<Option<Trouble>>> {
    let trouble: Arc<Mutex<Option<Trouble>>> = Arc::default();
    let (lost, errors) = (trouble.clone(), trouble.clone());
    device.set_device_lost_callback(move |reason, text| {
        let text = format!("the GPU was lost ({reason:?}: {text}); load the model again");
        *lost.lock().expect("no panic while it is held") = Some(Trouble { text, lost: true });
    });
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        let text = match &error {
            wgpu::Error::OutOfMemory { .. } => {
                "the GPU is out of memory; close other pages or load a smaller model".to_owned()
            }
            other => format!("the GPU refused a command: {other}"),
        };
        let trouble = Trouble { text, lost: false };
        errors.lock().expect("no panic while it is held").get_or_insert(trouble);
    }));
    trouble
}

/// `maxComputeWorkgroupsPerDimension` of WebGPU's default limits.
const MAX_GROUPS: usize = 65_535;

/// A grid as a dispatch takes it. Where a grid of one line is too long, it goes on in y; where it has too many lines, they go on in z.
/// Shaders find their place by `num_workgroups`, and leave what is too much by the count of elements or `Params`'s `lines`.
fn fold(kernel: &str, [x, y, z]: [usize; 3]) -> [u32; 3] {
    let parts = |n: usize| n.div_ceil(MAX_GROUPS);
    let folded = match [x, y, z] {
        [x, 1, 1] => [x.div_ceil(parts(x)), parts(x), 1],
        [x, y, 1] => [x, y.div_ceil(parts(y)), parts(y)],
        grid => grid,
    };
    assert!(folded.iter().all(|n| *n <= MAX_GROUPS), "{kernel}: a grid of {x} x {y} x {z} workgroups");
    folded.map(|n| n as u32)
}

/// Bytes of a kernel's `Params`, with the word for the lines of its grid.
fn params_bytes(kernel: &Kernel) -> u64 {
    bytes(kernel.params.len() + 1)
}

/// Bytes of the params of all steps of a plan.
pub(super) fn params_arena_bytes(plan: &Plan) -> usize {
    PARAMS_SLOT * plan.steps().len().max(1)
}

fn bytes(words: usize) -> u64 {
    4 * words as u64
}

/// Bytes of a buffer of so many words, if a device binds them.
pub(super) fn buffer_bytes(label: &str, words: usize, limit: u64) -> Result<u64> {
    let size = bytes(words.max(4).next_multiple_of(4)); // a binding of vec4 needs sixteen bytes
    if size > limit {
        return Err(Error::device(format!("{label}: {size} bytes, but this device binds {limit} at most")));
    }
    Ok(size)
}

/// A plan as the GPU runs it.
pub(super) struct Recorded {
    steps: Vec<RecordedStep>,
    _params: GpuBuffer,
}

impl Recorded {
    /// Operations of some steps.
    fn work(&self, steps: Range<usize>) -> u64 {
        self.steps[steps].iter().map(|step| step.work).sum()
    }
}

struct RecordedStep {
    pipeline: Rc<Pipeline>,
    args: wgpu::BindGroup,
    weight: Option<wgpu::BindGroup>,
    grid: [u32; 3],
    /// Operations.
    work: u64,
}

/// Memory on the device, given back when dropped.
struct GpuBuffer {
    raw: wgpu::Buffer,
    gpu: Gpu,
    _taken: Taken,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        self.raw.destroy(); // a browser would wait for its garbage collector
    }
}

impl Memory for GpuBuffer {
    fn write(&self, at: usize, words: &[u32]) {
        self.gpu.0.queue.write_buffer(&self.raw, bytes(at), bytemuck::cast_slice(words));
    }

    fn read(&self, words: Range<usize>) -> Readback {
        let mut encoder = self.gpu.encoder();
        let copy = Encoded::copy(&self.gpu, &mut encoder, &self.raw, words);
        copy.submitted(&self.gpu, self.gpu.0.queue.submit([encoder.finish()]))
    }

    fn probe(&self) -> Readback {
        self.read(0..1)
    }
}
