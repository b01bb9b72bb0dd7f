//! What the image-spec and its docker relatives say, as values. Nothing here reads or writes a file.

pub mod digest;
pub mod docker_save;
pub mod document;
pub mod glob;
pub mod index_doc;
pub mod media_type;
pub mod platform;
pub mod reference;
pub mod second_index;
pub(crate) mod signed;
mod spans;

pub use digest::{Algorithm, BlobName, Digest, DigestError};
pub use docker_save::DockerSave;
pub use document::{Document, Role, Shape};
pub use index_doc::{Edit, IndexDoc};
pub use media_type::Kind;
