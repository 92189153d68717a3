// Which part of a launch the running thread is, for kernels whose accesses are executed as written. In a proof compile
// one thread does the whole layer, so that the SASS holds every access; these functions then say that it is alone.
//
// A block takes work items in strides of block_step(), beginning with first_block(), so any number of blocks is right:
// a launch is held to a part of the multiprocessors by giving it as many blocks.
#pragma once
#include "layer.cuh"

#ifdef DIBENCH_PROOF
constexpr bool proof = true;
__device__ __forceinline__ int lane() { return 0; }
__device__ __forceinline__ int warp() { return 0; }
__device__ __forceinline__ int first_block() { return 0; }
__device__ __forceinline__ int block_step() { return 1; }
__device__ __forceinline__ int instances_of(int) { return 1; }
#else
constexpr bool proof = false;
__device__ __forceinline__ int lane() { return threadIdx.x % 32; }
__device__ __forceinline__ int warp() { return threadIdx.x / 32; }
__device__ __forceinline__ int first_block() { return blockIdx.x; }
__device__ __forceinline__ int block_step() { return gridDim.x; }
__device__ __forceinline__ int instances_of(int instances) { return instances; }
#endif

constexpr int warp_lanes = proof ? 1 : 32;
