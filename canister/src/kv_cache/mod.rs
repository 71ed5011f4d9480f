//! The KV cache in stable memory: pools of blocks, the hashes by which complete blocks are found, and
//! the block tables of those who hold blocks. The words are vLLM's.

pub(crate) mod block_hash;
mod block_pool;
mod block_pools;
pub(crate) mod block_table;

pub(crate) use block_hash::BLOCK;
pub(crate) use block_pools::BlockPools;
