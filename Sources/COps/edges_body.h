// The generic body of Kolmogorov-Arnold layers by tables per edge (Sources/Ops/KANEdges), and of transposed words.
//
// A voxel takes one row of every input channel's table, with all outputs in it. Rows lie anywhere in megabytes, so that fetching them
// from the second cache is what takes the time; rows of two inputs are zipped and summed in 32 bits beside that.

// 64 outputs at a time, of at most 512 inputs.
enum { EDGES_GROUP = 64, EDGES_INPUTS = 512, EDGES_VECTORS = EDGES_GROUP / (2 * MKV_LANES) };

// Where the sums of output quad `quad` (0 ... 15) of a group are: a pair of sums holds the lower and the upper halves of lanes.
MK_INLINE int32_t edges_place(int32_t quad) {
    const int32_t each = MKV_LANES / 2;  // quads of a vector of 16-bit values
    return (quad / each * 2 + (quad & 1)) * MKV_LANES + quad % each / 2 * 4;
}

// Adds the rows of the four inputs of a word.
MK_INLINE void edges_four(const int16_t *tables, uint32_t word, ptrdiff_t row, const int vectors, mkv_acc *acc) {
    const int16_t *r[4];
#pragma unroll
    for (int i = 0; i < 4; i++) r[i] = tables + (ptrdiff_t)(word >> 8 * i & 255) * row + 256 * i * row;
#pragma unroll
    for (int v = 0; v < vectors; v++) {
        mkv_add_rows(r[0] + 2 * MKV_LANES * v, r[1] + 2 * MKV_LANES * v, acc + 2 * v);
        mkv_add_rows(r[2] + 2 * MKV_LANES * v, r[3] + 2 * MKV_LANES * v, acc + 2 * v);
    }
}

// Sums of `vectors` vectors of outputs for one voxel, the words of whose blocks lie MKV_LANES words apart. `tables` and `zero` are at
// the first of these outputs.
MK_INLINE void edges_voxel(const mk_edges *edges, const uint32_t *words, const int16_t *tables, const int16_t *zero,
                           const int vectors, int32_t *sums) {
    mkv_acc acc[2 * EDGES_VECTORS];
    const ptrdiff_t row = edges->row;
#pragma unroll
    for (int v = 0; v < 2 * vectors; v++) acc[v] = mkv_zero();
    for (int32_t blocks = edges->inputs / 4; blocks > 0; blocks--, words += MKV_LANES, tables += 1024 * row)
        edges_four(tables, *words, row, vectors, acc);
    for (int32_t i = 0; i < edges->inputs % 4; i++)
#pragma unroll
        for (int v = 0; v < vectors; v++)
            mkv_add_rows(tables + (256 * i + (*words >> 8 * i & 255)) * row + 2 * MKV_LANES * v, zero + 2 * MKV_LANES * v, acc + 2 * v);
#pragma unroll
    for (int v = 0; v < 2 * vectors; v++) mkv_store((uint8_t *)(sums + v * MKV_LANES), acc[v]);
}

typedef struct { mkv_requant4 q; mkv_acc bias; } edges_constants;

// Requantizes and stores one vector of voxels of one quad of outputs.
MK_INLINE void edges_store(const mk_edges *edges, const int32_t *sums, edges_constants k, int32_t real, uint8_t *to,
                           mkv_mask mask) {
    mkv_acc y[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const mkv_acc sum = mkv_load_fourth((const uint8_t *)(sums + i * EDGES_GROUP), EDGES_GROUP * 4);
        y[i] = mkv_requantize4(mkv_add32(sum, k.bias), k.q);
        if (edges->wide == 2) y[i] = mkv_max0(y[i]);
    }
    quad_store(edges->wide, y, real, to, edges->output_stride, mask);
}

// Outputs first ... first + 2 · MKV_LANES · vectors of all voxels.
MK_INLINE void edges_group(const mk_edges *edges, const uint8_t *input, uint8_t *output, int32_t width, int32_t height,
                           int32_t first, const int vectors) {
    const int32_t left = edges->outputs - first, quads = ((left < EDGES_GROUP ? left : EDGES_GROUP) + 3) / 4;
    const int16_t *tables = edges->tables + first, *zero = edges->zero + first;
    int32_t sums[MKV_LANES * EDGES_GROUP];
    // Planes a power of two apart would share few places of the first cache.
    uint32_t words[EDGES_INPUTS / 4 * MKV_LANES];
    edges_constants constants[EDGES_GROUP / 4];
    for (int32_t q = 0; q < quads; q++) {
        const int32_t c = first + 4 * q, real = edges->outputs - c < 4 ? edges->outputs - c : 4;
        constants[q].q = quad_requantizer(edges->channels + c, real, edges->zero_point, &constants[q].bias);
        constants[q].bias = mkv_add32(constants[q].bias, mkv_repeat(edges->offsets + c));
    }
    for (int32_t y = 0; y < height; y++, input += edges->input_pitch, output += edges->output_pitch)
        for (int32_t x = 0; x < width; x += MKV_LANES) {
            const int32_t count = width - x < MKV_LANES ? width - x : MKV_LANES;
            for (int32_t block = 0; 4 * block < edges->inputs; block++)
                mkv_store((uint8_t *)(words + block * MKV_LANES),
                          mkv_load_masked(input + block * edges->input_stride + 4 * (ptrdiff_t)x, mask_until(x, width)));
            for (int32_t v = 0; v < count; v++)
                edges_voxel(edges, words + v, tables, zero, vectors, sums + v * EDGES_GROUP);
            for (int32_t q = 0; q < quads; q++) {
                const int32_t c = first + 4 * q;
                edges_store(edges, sums + edges_place(q), constants[q], edges->outputs - c,
                            output + c / (edges->wide ? 2 : 4) * edges->output_stride + 4 * (ptrdiff_t)x, mask_until(x, width));
            }
        }
}

void MK_ISA(mk_edges)(const mk_edges *edges, const uint8_t *input, uint8_t *output, int32_t width, int32_t height) {
    for (int32_t first = 0; first < edges->row; first += EDGES_GROUP)
        if (edges->row - first >= EDGES_GROUP) edges_group(edges, input, output, width, height, first, EDGES_VECTORS);
        else edges_group(edges, input, output, width, height, first, EDGES_VECTORS / 2);
}

// Words `[row][column]` to `[column][row]`, MKV_LANES rows and four columns at a time.
void MK_ISA(mk_transpose)(const uint32_t *from, ptrdiff_t from_pitch, uint32_t *to, ptrdiff_t to_pitch, int32_t rows,
                          int32_t columns) {
    const int32_t whole_rows = rows / MKV_LANES * MKV_LANES, whole_columns = columns & ~3;
    // Columns outside: what is written stays in few lines.
    for (int32_t c = 0; c < whole_columns; c += 4)
        for (int32_t r = 0; r < whole_rows; r += MKV_LANES) {
            mkv_acc x[4];
#pragma unroll
            for (int i = 0; i < 4; i++) x[i] = mkv_load_fourth((const uint8_t *)(from + (r + i) * from_pitch + c), 4 * from_pitch);
            const mkv_acc low01 = mkv_zip32_low(x[0], x[1]), high01 = mkv_zip32_high(x[0], x[1]);
            const mkv_acc low23 = mkv_zip32_low(x[2], x[3]), high23 = mkv_zip32_high(x[2], x[3]);
            uint32_t *y = to + c * to_pitch + r;
            mkv_store((uint8_t *)y, mkv_zip64_low(low01, low23));
            mkv_store((uint8_t *)(y + to_pitch), mkv_zip64_high(low01, low23));
            mkv_store((uint8_t *)(y + 2 * to_pitch), mkv_zip64_low(high01, high23));
            mkv_store((uint8_t *)(y + 3 * to_pitch), mkv_zip64_high(high01, high23));
        }
    for (int32_t c = 0; c < columns; c++)
        for (int32_t r = c < whole_columns ? whole_rows : 0; r < rows; r++) to[c * to_pitch + r] = from[r * from_pitch + c];
}
