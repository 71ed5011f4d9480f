//! The KV cache in stable memory: pools of blocks, the hashes by which complete blocks are found, and
//! the block tables of those who hold blocks. The words are vLLM's.

pub mod block_hash;
mod block_pool;
mod block_pools;
pub mod block_table;

pub use block_hash::BLOCK;
pub use block_pools::BlockPools;
