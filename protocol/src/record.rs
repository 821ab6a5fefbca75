//! Record batches.
use bytes::Bytes;
/// A record batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBatch(Bytes);
impl RecordBatch {
    /// A record batch.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}
