// Runs conv.cu, which comes before this, block by block.

extern "C" void launch(const Map* source, const Map* extra, const char* weights, const float* bias, const float* slope,
                       const unsigned short* res, const unsigned short* res2, unsigned short* out, const Geometry* g,
                       unsigned blocks) {
    std::vector<char> room(MEMORY + 1024);
    memory = (char*)(((uintptr_t)room.data() + 1023) / 1024 * 1024);
    const int threads = (GROUPS + 1) * 128;
    for (unsigned block = 0; block < blocks; ++block) {
        std::memset(memory, 0x7e, MEMORY);  // NaN
        std::barrier<> together(threads);
        everybody = &together;
        std::vector<Warp> warps(threads / 32);
        std::vector<std::thread> running;
        for (int i = 0; i < threads; ++i)
            running.emplace_back([&, i] {
                threadIdx.x = i, blockIdx.x = block, blockDim.x = threads, gridDim.x = blocks;
                warp_of = &warps[i / 32];
                conv(*source, *extra, weights, bias, slope, res, res2, out, *g);
            });
        for (auto& one : running) one.join();
    }
}
