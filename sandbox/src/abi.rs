//! How bytes get into the guest and out again: as Python's `bytes` objects, through CPython's own C interface, which the
//! runtime exports. A hostile guest can return anything, so sizes and addresses are checked.

use wasmtime::{AsContextMut, Memory, TypedFunc};

/// The functions of CPython that an instance must export.
pub(crate) const EXPORTS: [&str; 4] = [
    "PyBytes_FromStringAndSize",
    "PyBytes_AsString",
    "PyBytes_Size",
    "Py_DecRef",
];

/// The address of a Python object in the guest's memory.
pub(crate) type Object = i32;

/// Why bytes did not cross.
pub(crate) enum Broken {
    /// The guest died.
    Died(wasmtime::Error),
    /// The guest raised an exception where it must not, for want of memory if anything.
    Raised,
    /// The guest returned something else than honest bytes.
    Malformed,
    /// The guest returned more bytes than it may.
    TooLarge,
}

impl From<wasmtime::Error> for Broken {
    fn from(error: wasmtime::Error) -> Broken {
        Broken::Died(error)
    }
}

/// An instance's memory and [`EXPORTS`].
pub(crate) struct Abi {
    pub(crate) memory: Memory,
    pub(crate) allocate: TypedFunc<(i32, i32), Object>,
    pub(crate) data: TypedFunc<Object, i32>,
    pub(crate) size: TypedFunc<Object, i32>,
    pub(crate) release: TypedFunc<Object, ()>,
}

impl Abi {
    /// Makes a `bytes` object of `bytes` in the guest.
    pub(crate) fn enter(
        &self,
        mut store: impl AsContextMut,
        bytes: &[u8],
    ) -> Result<Object, Broken> {
        let size = i32::try_from(bytes.len()).map_err(|_| Broken::Raised)?;
        let object = self.allocate.call(&mut store, (0, size))?;
        if object == 0 {
            return Err(Broken::Raised);
        }
        let at = self.data.call(&mut store, object)? as u32 as usize;
        self.memory
            .write(&mut store, at, bytes)
            .map_err(|_| Broken::Malformed)?;
        Ok(object)
    }

    /// The content of a `bytes` object of the guest, of at most `cap` bytes.
    pub(crate) fn leave(
        &self,
        mut store: impl AsContextMut,
        object: Object,
        cap: usize,
    ) -> Result<Vec<u8>, Broken> {
        if object == 0 {
            return Err(Broken::Raised);
        }
        // -1, and an exception, for what is not bytes.
        let size = self.size.call(&mut store, object)?;
        let size = usize::try_from(size).map_err(|_| Broken::Malformed)?;
        if size > cap {
            return Err(Broken::TooLarge);
        }
        let at = self.data.call(&mut store, object)? as u32 as usize;
        let bytes = self
            .memory
            .data(&store)
            .get(at..)
            .and_then(|rest| rest.get(..size));
        bytes.map(<[u8]>::to_vec).ok_or(Broken::Malformed)
    }
}
