// node caller.js model.onnx photo.ppm          (npm install onnxruntime-node)
const fs = require("fs");
const ort = require("onnxruntime-node");

async function main([model, photo]) {
  const session = await ort.InferenceSession.create(model);
  const file = fs.readFileSync(photo); // P6: any decoder that gives RGB bytes will do
  const [header, width, height] = file.toString("latin1").match(/^P6\s+(\d+)\s+(\d+)\s+255\s/);
  const pixels = Uint8Array.from(file.subarray(header.length));
  const image = new ort.Tensor("uint8", pixels, [Number(height), Number(width), 3]);
  const { index, score } = await session.run({ image });
  console.log(Number(index.data[0]), score.data[0].toFixed(3));
}

main(process.argv.slice(2));
