// dotnet run -- model.onnx photo.ppm           (dotnet add package Microsoft.ML.OnnxRuntime)
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

var file = File.ReadAllBytes(args[1]); // P6: any decoder that gives RGB bytes will do
var header = Regex.Match(Encoding.Latin1.GetString(file), @"^P6\s+(\d+)\s+(\d+)\s+255\s");
int width = int.Parse(header.Groups[1].Value), height = int.Parse(header.Groups[2].Value);
var image = new DenseTensor<byte>(file.AsMemory(header.Length), new[] { height, width, 3 });
using var session = new InferenceSession(args[0]);
using var found = session.Run(new[] { NamedOnnxValue.CreateFromTensor("image", image) });
var index = found.First(value => value.Name == "index").AsEnumerable<long>().First();
var score = found.First(value => value.Name == "score").AsEnumerable<float>().First();
Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{index} {score:F3}"));
